"""Reads a GGUF file with the gguf package and compares its tensors with those of a safetensors folder.

    gguf_check.py FILE.gguf FOLDER --within RELATIVE

FILE: a whole file, or the first part of a split one, whose parts must say which of how many they are. FOLDER: the float
checkpoint the file was quantized from. Every tensor of the checkpoint must be in the file, under the
name that the package's own table gives it, and be the float tensor within the relative error RELATIVE (rows of q and k
in llama.cpp's order). Prints one JSON line; exits 1 where a bound is broken.
"""

import json
import pathlib
import re
import sys

import gguf
import numpy as np
import safetensors.torch


def rotary_rows(weight, heads):
    return weight.reshape(heads, 2, -1, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def read(path):
    """The readers of all parts, in order."""
    name = re.fullmatch(r"(.*)-00001-of-(\d{5})\.gguf", path)
    if not name:
        return [gguf.GGUFReader(path)]
    count = int(name[2])
    readers = [gguf.GGUFReader(f"{name[1]}-{i + 1:05}-of-{name[2]}.gguf") for i in range(count)]
    tensors = sum(len(r.tensors) for r in readers)
    for i, reader in enumerate(readers):
        said = [int(reader.fields[key].parts[-1][0]) for key in ("split.no", "split.count", "split.tensors.count")]
        if said != [i, count, tensors]:
            sys.exit(f"{path}: part {i + 1} says {said}, wanted {[i, count, tensors]}")
        if (i == 0) != ("general.architecture" in reader.fields):
            sys.exit(f"{path}: the first part alone has the metadata")
    return readers


def main():
    path, folder, bound = sys.argv[1], pathlib.Path(sys.argv[2]), float(sys.argv[4])
    config = json.loads((folder / "config.json").read_text())
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    tensors = [t for reader in read(path) for t in reader.tensors]
    stored = {t.name: t for t in tensors}
    worst = 0.0
    for name, value in safetensors.torch.load_file(folder / "model.safetensors").items():
        value = value.float().numpy()
        tensor = stored.pop(names.get_name(name, try_suffixes=(".weight", ".bias")))
        if name.endswith("q_proj.weight"):
            value = rotary_rows(value, config["num_attention_heads"])
        if name.endswith("k_proj.weight"):
            value = rotary_rows(value, config["num_key_value_heads"])
        found = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(value.shape)
        error = float(np.linalg.norm(found - value) / np.linalg.norm(value))
        worst = max(worst, error)
        if value.ndim == 1 and error > 0:
            worst = np.inf
    print(json.dumps({"file": path, "tensors": len(tensors), "relative_error": worst}))
    if worst > bound or stored:
        sys.exit(f"relative error {worst}, at most {bound} wanted; tensors of no checkpoint: {sorted(stored)}")


main()
