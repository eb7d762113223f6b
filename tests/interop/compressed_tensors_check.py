"""Compares vernier's logits of a compressed-tensors folder with those of transformers and the compressed-tensors package.

    compressed_tensors_check.py OUT IDS.json LOGITS.json

IDS.json: sequences of token ids. LOGITS.json: what dump_logits printed for OUT and those ids. Everything runs in fp32
on the CPU. Prints one JSON line; exits 1 where a bound is broken.

Weight-only outputs must agree within 1e-3 in every logit.

With quantized inputs, an activation that lies between two codes goes either way by the last bit of fp32, and every later
block and token sees the difference: over a text, the package's own fp32 and fp64 runs are as far apart as its fp32 run
and ours ("kl_text", "kl_text_package": mean KL over the longest sequence). What both programs decide, the rounding rule
and the scales, shows in the sequences that meet no such value, where a wrong rule would still differ everywhere: the longest
sequence, or the median over the sequences of at most two tokens (which share their first), must have a KL of at most 1e-5.
"""

import json
import statistics
import sys

import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.compressors.nvfp4.helpers import unpack_fp4_from_uint8
from compressed_tensors.quantization.lifecycle.forward import dequantize
from transformers import AutoModelForCausalLM, CompressedTensorsConfig

MAX_ABS_DIFF = 1e-3
MAX_KL = 1e-5
SHORT_TOKENS = 2


def decompress_in_fp32():
    """Lets the package decompress packed weights under fp32 scales.

    It rounds to the type of the scales. Modules that are loaded compressed have theirs in the model's type, fp32 here;
    weights that are expanded while loading (asymmetric ones, experts) have them in 16 bit, as they are stored.
    """
    packed = BaseCompressor.get_value_from_registry("pack-quantized")
    decompress = packed.decompress.__func__

    def in_fp32(cls, state_dict, scheme):
        return decompress(cls, {**state_dict, "weight_scale": state_dict["weight_scale"].float()}, scheme)

    packed.decompress = classmethod(in_fp32)

    # Four-bit floats it expands to bfloat16.
    def floats_in_fp32(cls, state_dict, scheme):
        state = dict(state_dict)
        packed = state.pop("weight_packed")
        values = unpack_fp4_from_uint8(packed, packed.shape[0], 2 * packed.shape[1], dtype=torch.float32)
        scale = cls._decompress_scale(state["weight_scale"], torch.float32)
        divisor = state.get("weight_global_scale")
        state["weight"] = dequantize(values, scale, args=scheme.weights, global_scale=divisor, dtype=torch.float32)
        state["weight_scale"] = torch.nn.Parameter(scale, requires_grad=False)
        return state

    eights = BaseCompressor.get_value_from_registry("mxfp8-quantized")
    expand = eights.decompress.__func__

    def exact_in_fp32(cls, state_dict, scheme):  # a power of two times E4M3, in bfloat16: nothing is rounded
        state = expand(cls, state_dict, scheme)
        bf16 = torch.bfloat16  # some releases keep names without a value
        return {n: v.float() if v is not None and v.dtype == bf16 else v for n, v in state.items()}

    eights.decompress = classmethod(exact_in_fp32)

    for name in ("nvfp4-pack-quantized", "mxfp4-pack-quantized"):
        BaseCompressor.get_value_from_registry(name).decompress = classmethod(floats_in_fp32)


def load(folder, groups):
    decompress_in_fp32()
    options = {}
    if not all(group["weights"]["symmetric"] for group in groups):
        # transformers 5.23 with compressed-tensors 0.20 sizes the zero points of packed weights wrongly unless it
        # expands the weights while loading, and then it takes one group for all.
        if len(groups) != 1:
            sys.exit("asymmetric weights in several groups are not compared")
        options["quantization_config"] = CompressedTensorsConfig(dequantize=True)
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **options)


def logits_of(model, sequences):
    with torch.no_grad():
        return [model(torch.tensor([ids])).logits[0] for ids in sequences]


def mean_kl(a, b):
    kl = torch.nn.functional.kl_div(
        a.double().log_softmax(-1), b.double().log_softmax(-1), reduction="none", log_target=True
    )
    return kl.sum(-1).mean().item()


def main():
    folder, ids_file, logits_file = sys.argv[1:4]
    with open(folder + "/config.json") as file:
        groups = list(json.load(file)["quantization_config"]["config_groups"].values())
    with open(ids_file) as file:
        sequences = json.load(file)
    with open(logits_file) as file:
        ours = [torch.tensor(rows) for rows in json.load(file)["logits"]]

    model = load(folder, groups).eval()
    theirs = logits_of(model, sequences)
    for a, b in zip(ours, theirs, strict=True):
        if a.shape != b.shape:
            sys.exit(f"{folder}: logits {tuple(a.shape)}, transformers has {tuple(b.shape)}")

    report = {"model": folder, "tokens": sum(map(len, sequences))}
    report["max_abs_diff"] = max((a - b).abs().max().item() for a, b in zip(ours, theirs))
    if any(group["input_activations"] for group in groups):
        longest = max(range(len(sequences)), key=lambda i: len(sequences[i]))
        report["kl_text"] = mean_kl(ours[longest], theirs[longest])
        report["kl_text_package"] = mean_kl(logits_of(model.double(), [sequences[longest]])[0], theirs[longest])
        short = [mean_kl(a, b) for a, b in zip(ours, theirs) if len(a) <= SHORT_TOKENS]
        report["kl_short_median"] = statistics.median(short)
        report["ok"] = min(report["kl_text"], report["kl_short_median"]) <= MAX_KL
    else:
        report["ok"] = report["max_abs_diff"] <= MAX_ABS_DIFF
    print(json.dumps(report))
    sys.exit(0 if report["ok"] else 1)


if __name__ == "__main__":
    main()
