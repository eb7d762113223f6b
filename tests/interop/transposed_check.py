"""Compares vernier's logits of a GPTQ or AWQ folder with those of transformers on weights that this script expands.

    transposed_check.py OUT IDS.json LOGITS.json

The expansion follows the published layouts alone: GPTQ's qweight is one little-endian bit string down each column, zero
points lie along rows (less one where checkpoint_format is "gptq"), g_idx names each input's group; AWQ's nibbles are
outputs 0 2 4 6 1 3 5 7 of their word. Everything runs in fp32 on the CPU. Prints one JSON line; exits 1 where a logit
differs by more than 1e-3.
"""

import json
import pathlib
import sys

import numpy as np
import safetensors.torch
import torch
from transformers import AutoConfig, AutoModelForCausalLM

MAX_ABS_DIFF = 1e-3
AWQ_OUTPUT = [0, 2, 4, 6, 1, 3, 5, 7]


def bit_strings(words, bits):
    """[words, n] of I32 to [words * 32 / bits, n]: every column a bit string."""
    one = words.astype(np.uint32)[:, None, :] >> np.arange(32, dtype=np.uint32)[None, :, None] & 1
    one = one.reshape(-1, bits, words.shape[1])
    return (one << np.arange(bits)[None, :, None]).sum(axis=1)


def nibbles(words):
    """[n, words] of I32 to [n, words * 8]."""
    out = np.empty((words.shape[0], words.shape[1], 8), np.int64)
    for place, output in enumerate(AWQ_OUTPUT):
        out[:, :, output] = words.astype(np.uint32) >> np.uint32(4 * place) & 15
    return out.reshape(words.shape[0], -1)


def expand(tensors, module, quantization):
    words, zero_words = tensors.pop(module + ".qweight").numpy(), tensors.pop(module + ".qzeros").numpy()
    scales = tensors.pop(module + ".scales").float().numpy()
    if quantization["quant_method"] == "awq":
        codes, zeros = nibbles(words), nibbles(zero_words)
    else:
        bits = quantization["bits"]
        codes = bit_strings(words, bits)
        zeros = bit_strings(zero_words.T, bits).T
        if quantization["checkpoint_format"] == "gptq":
            zeros = zeros + 1 & (1 << bits) - 1
    size = quantization["group_size"]
    order = np.arange(codes.shape[0]) // (size if size > 0 else codes.shape[0])
    if module + ".g_idx" in tensors:
        order = tensors.pop(module + ".g_idx").numpy()
    weight = (codes - zeros[order]).astype(np.float32) * scales[order]
    tensors[module + ".weight"] = torch.from_numpy(np.ascontiguousarray(weight.T))


def main():
    folder = pathlib.Path(sys.argv[1])
    config = json.loads((folder / "config.json").read_text())
    quantization = config.pop("quantization_config")
    tensors = {}
    for file in folder.glob("*.safetensors"):
        tensors |= safetensors.torch.load_file(file)
    for name in [name for name in tensors if name.endswith(".qweight")]:
        expand(tensors, name.removesuffix(".qweight"), quantization)

    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config), dtype=torch.float32).eval()
    missing, unexpected = model.load_state_dict({k: v.float() for k, v in tensors.items()}, strict=False)
    if unexpected or set(missing) - {"lm_head.weight"}:
        sys.exit(f"{folder}: missing {missing}, unexpected {unexpected}")
    model.tie_weights()

    sequences = json.loads(pathlib.Path(sys.argv[2]).read_text())
    ours = json.loads(pathlib.Path(sys.argv[3]).read_text())["logits"]
    worst = 0.0
    with torch.no_grad():
        for ids, rows in zip(sequences, ours, strict=True):
            theirs = model(torch.tensor([ids])).logits[0]
            worst = max(worst, (theirs - torch.tensor(rows)).abs().max().item())
    print(json.dumps({"model": str(folder), "max_abs_diff": worst, "ok": worst <= MAX_ABS_DIFF}))
    sys.exit(0 if worst <= MAX_ABS_DIFF else 1)


main()
