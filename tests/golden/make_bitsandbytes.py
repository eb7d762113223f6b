#!/usr/bin/env python3
"""Makes tests/golden/bitsandbytes.json: weights as the bitsandbytes package stores and expands them.

Needs Python with torch and bitsandbytes; the result is committed, so tests need neither.
Run: python3 tests/golden/make_bitsandbytes.py

Per case the tensors beside a weight [32, 64] ("": the weight itself) as element type, shape and little-endian hex, and
"expanded": the float32 values the package makes of them.
"""
import json
import pathlib

import bitsandbytes.functional as F
import torch

SAFETENSORS = {torch.uint8: "U8", torch.int8: "I8", torch.float32: "F32"}


def stored(tensor):
    data = tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes().hex()
    return {"dtype": SAFETENSORS[tensor.dtype], "shape": list(tensor.shape), "data": data}


def main():
    torch.manual_seed(3)
    result = {}
    for kind in ("nf4", "fp4"):
        for nested in (False, True):
            # Blocks cross rows.
            weight = torch.randn(32, 64) * torch.rand(32, 1)
            codes, state = F.quantize_4bit(weight, blocksize=128, quant_type=kind, compress_statistics=nested)
            tensors = {"": stored(codes)}
            for name, tensor in state.as_dict(packed=True).items():
                tensors["." + name] = stored(tensor)
            expanded = F.dequantize_4bit(codes, state).float()
            result[kind + ("-nested" if nested else "")] = {"tensors": tensors, "expanded": stored(expanded)}
    path = pathlib.Path(__file__).parent / "bitsandbytes.json"
    path.write_text(json.dumps(result, indent=1) + "\n")


main()
