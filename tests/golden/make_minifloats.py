#!/usr/bin/env python3
"""Makes tests/golden/minifloats.json: small floats as torch and compressed-tensors see them.

Needs Python with torch and compressed-tensors 0.20; the result is committed, so tests need neither.
Run: python3 tests/golden/make_minifloats.py

All numbers are little-endian hex. "e4m3": the float32 of every code, and pairs of float32 and code, where the float is
clamped to +-448 first. "weights": per scheme a float32 weight [rows, cols] and what the package stores of it: codes,
scale (in its stored type), the divisor of nvfp4, and the weight it decompresses to (float32).
"""
import json
import pathlib

import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.compressors.nvfp4.helpers import unpack_fp4_from_uint8
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from compressed_tensors.quantization.lifecycle.forward import dequantize
from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam

ROWS, COLS = 6, 64
SCHEMES = {
    "fp8-tensor": ("float-quantized", {"num_bits": 8, "strategy": "tensor"}),
    "fp8-channel": ("float-quantized", {"num_bits": 8, "strategy": "channel"}),
    "fp8-group": ("float-quantized", {"num_bits": 8, "strategy": "group", "group_size": 16}),
    "fp8-block": ("float-quantized", {"num_bits": 8, "strategy": "block", "block_structure": [4, 32]}),
    "nvfp4": ("nvfp4-pack-quantized", {"num_bits": 4, "strategy": "tensor_group", "group_size": 16,
                                       "scale_dtype": torch.float8_e4m3fn}),
    "mxfp4": ("mxfp4-pack-quantized", {"num_bits": 4, "strategy": "group", "group_size": 32,
                                       "scale_dtype": torch.uint8}),
}


def hexed(tensor):
    return tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes().hex()


def e4m3():
    codes = torch.arange(256, dtype=torch.int64).to(torch.uint8)
    torch.manual_seed(1)
    values = codes.view(torch.float8_e4m3fn).float()
    finite = values[values.isfinite()].sort().values
    middle = (finite[1:] + finite[:-1]) / 2  # ties
    near = torch.cat([torch.nextafter(middle, torch.full_like(middle, side)) for side in (-1000.0, 1000.0)])
    inputs = torch.cat([finite, middle, near, torch.randn(200) * 100, torch.tensor([-0.0, 1e-30, 464.0, -1e6])])
    encoded = inputs.clamp(-448, 448).to(torch.float8_e4m3fn).view(torch.uint8)
    return {"values": hexed(values), "inputs": hexed(inputs), "codes": hexed(encoded)}


def ranges(weight, args):
    if args.strategy == "tensor":
        return weight.min().reshape(1), weight.max().reshape(1)
    if args.strategy == "channel":
        return weight.amin(1, keepdim=True), weight.amax(1, keepdim=True)
    if args.strategy == "block":
        height, width = args.block_structure
        padded = torch.nn.functional.pad(weight, (0, -COLS % width, 0, -ROWS % height))
        blocks = padded.reshape(padded.shape[0] // height, height, padded.shape[1] // width, width)
        return blocks.amin((1, 3)), blocks.amax((1, 3))
    groups = weight.reshape(ROWS, -1, args.group_size)
    return groups.amin(2), groups.amax(2)


def weights():
    result = {}
    torch.manual_seed(2)
    for name, (kind, options) in SCHEMES.items():
        args = QuantizationArgs(type="float", symmetric=True, dynamic=False, **options)
        weight = torch.randn(ROWS, COLS) * torch.rand(ROWS, 1) * 0.3
        low, high = ranges(weight, args)
        divisor = generate_gparam(weight.min(), weight.max()) if name == "nvfp4" else None
        scale, _ = calculate_qparams(low, high, args, global_scale=divisor)
        state = {"weight": weight, "weight_scale": scale}
        if divisor is not None:
            state["weight_global_scale"] = divisor
        scheme = QuantizationScheme(targets=["Linear"], weights=args)
        package = BaseCompressor.get_value_from_registry(kind)
        stored = package.compress(state, scheme)
        codes = stored["weight_packed"] if "weight_packed" in stored else stored["weight"]
        if "weight_packed" in stored:  # the package's own decompression of these is in bfloat16
            values = unpack_fp4_from_uint8(codes, ROWS, COLS, dtype=torch.float32)
            exact = package._decompress_scale(stored["weight_scale"], torch.float32)
            decoded = dequantize(x_q=values, scale=exact, args=args, global_scale=divisor, dtype=torch.float32)
        else:
            decoded = package.decompress(stored, scheme)["weight"]
        result[name] = {"rows": ROWS, "cols": COLS, "weight": hexed(weight), "codes": hexed(codes),
                        "scale": hexed(stored["weight_scale"]), "decoded": hexed(decoded.float())}
        if divisor is not None:
            result[name]["divisor"] = hexed(divisor.float())
    return result


def main():
    path = pathlib.Path(__file__).parent / "minifloats.json"
    path.write_text(json.dumps({"e4m3": e4m3(), "weights": weights()}, indent=1) + "\n")


main()
