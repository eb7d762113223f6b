"""Rounds the linears of a checkpoint to nearest with the compressed-tensors package and saves what it makes of them.

    write_compressed_tensors.py MODEL OUT PRESET[,PRESET]

PRESET: a preset of the package (FP8_DYNAMIC, NVFP4A16, W4A16 ...). Two: the second is for down_proj alone. The head stays
in floats.
"""

import sys

import torch
from compressed_tensors.compressors import ModelCompressor
from compressed_tensors.quantization import QuantizationConfig, apply_quantization_config, preset_name_to_scheme
from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam
from transformers import AutoModelForCausalLM


def extremes(weight, args):
    """Least and largest value of what shares a scale, shaped like the scales."""
    rows, cols = weight.shape
    if args.strategy == "tensor":
        return weight.min().reshape(1), weight.max().reshape(1)
    if args.strategy == "channel":
        return weight.amin(1, keepdim=True), weight.amax(1, keepdim=True)
    if args.strategy == "block":
        height, width = args.block_structure
        padded = torch.nn.functional.pad(weight, (0, -cols % width, 0, -rows % height))
        blocks = padded.reshape(padded.shape[0] // height, height, padded.shape[1] // width, width)
        return blocks.amin((1, 3)), blocks.amax((1, 3))
    groups = weight.reshape(rows, -1, args.group_size)
    return groups.amin(2), groups.amax(2)


def fit(module):
    args = module.quantization_scheme.weights
    low, high = extremes(module.weight.data, args)
    divisor = None
    if args.strategy == "tensor_group":
        divisor = generate_gparam(module.weight.min(), module.weight.max())
        module.weight_global_scale.data.copy_(divisor)
    scale, zero = calculate_qparams(low, high, args, global_scale=divisor)
    module.weight_scale.data = scale.to(module.weight_scale.dtype)
    if getattr(module, "weight_zero_point", None) is not None:
        module.weight_zero_point.data = zero.to(module.weight_zero_point.dtype)


def main():
    source, out, presets = sys.argv[1], sys.argv[2], sys.argv[3].split(",")
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16)
    groups = {}
    for i, preset in enumerate(presets):
        down_only = len(presets) == 2 and i == 1
        targets = ["re:.*down_proj$"] if down_only else ["Linear"] if len(presets) == 1 else ["re:.*(?<!down)_proj$"]
        groups[f"group_{i}"] = preset_name_to_scheme(preset, targets)
    apply_quantization_config(model, QuantizationConfig(config_groups=groups, ignore=["re:lm_.*"]))
    for module in model.modules():
        if getattr(module, "quantization_scheme", None) is not None:
            fit(module)
    compressor = ModelCompressor.from_pretrained_model(model)
    compressor.compress_model(model)
    model.save_pretrained(out)
    compressor.update_config(out)


main()
