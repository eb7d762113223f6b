#!/usr/bin/env python3
"""Makes tests/golden/architectures/: tiny random checkpoints and the logits that transformers computes from them.

Needs Python with torch, transformers >= 5 and safetensors; the results are committed, so tests need none of them.
Run: python3 tests/golden/make_architectures.py

Each case is a folder with
  config.json        as checkpoints of that family state it
  model.safetensors  every tensor random, F16 (the values are exact; all arithmetic below is float32)
  expected.json      ids; logits at every position; toggles: the logits at the last position after replacing config keys
                     ("set", null stays null), and whether they must differ ("changes")
"""
import json
import pathlib
import shutil
import tempfile

import numpy as np
import safetensors.numpy
import torch
from transformers import AutoConfig, AutoModelForCausalLM

OUT = pathlib.Path(__file__).parent / "architectures"
TOKENS = 24
LEAST_CHANGE = 1e-2  # a toggle that changes logits must do so clearly

SIZES = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, vocab_size=64, max_position_embeddings=64)
GATED = dict(SIZES, intermediate_size=48, num_key_value_heads=2, hidden_act="silu", rms_norm_eps=1e-5,
             tie_word_embeddings=False)
LLAMA = dict(GATED, model_type="llama", rope_theta=100.0, attention_bias=False, mlp_bias=False)
OPT = dict(SIZES, model_type="opt", ffn_dim=48, do_layer_norm_before=True, word_embed_proj_dim=32, enable_bias=True,
           layer_norm_elementwise_affine=True, activation_function="relu", pad_token_id=1)
LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=32)
YARN = dict(rope_type="yarn", factor=4.0, beta_fast=4.0, beta_slow=1.0, original_max_position_embeddings=64)
LINEAR = {"type": "linear", "factor": 2.0}


def scaling(base, **changes):
    return {"rope_scaling": {**base, **changes}}


def without(base, key):
    return {"rope_scaling": {k: v for k, v in base.items() if k != key}}


# Query heads halved, key heads halved, so that every projection keeps its shape.
FEWER_HEADS = dict(num_attention_heads=2, num_key_value_heads=1)
COMMON = [dict(rope_theta=30.0), dict(rms_norm_eps=0.1), FEWER_HEADS]

CASES = {
    "llama": (LLAMA, COMMON + [
        dict(tie_word_embeddings=True),
        dict(max_position_embeddings=128, unchanged=True),
        dict(rope_scaling={"type": "dynamic", "factor": 2.0}, unchanged=True),
        dict(rope_scaling={"rope_type": "linear", "factor": 4.0}),
        dict(rope_theta=None, rope_parameters={"rope_type": "default", "rope_theta": 30.0}),
    ]),
    "llama-linear": (dict(LLAMA, rope_scaling=LINEAR), [scaling(LINEAR, factor=4.0), dict(rope_scaling=None)]),
    "llama-llama3": (dict(LLAMA, head_dim=16, rope_scaling=LLAMA3), [
        scaling(LLAMA3, factor=2.0), scaling(LLAMA3, low_freq_factor=2.0), scaling(LLAMA3, high_freq_factor=8.0),
        scaling(LLAMA3, original_max_position_embeddings=16), dict(rope_theta=30.0), dict(rope_scaling=None),
    ]),
    "llama-yarn": (dict(LLAMA, head_dim=16, max_position_embeddings=256, rope_scaling=YARN), [
        scaling(YARN, factor=2.0), scaling(YARN, beta_fast=2.0), scaling(YARN, beta_slow=0.25),
        scaling(YARN, original_max_position_embeddings=32), scaling(YARN, attention_factor=1.5),
        scaling(YARN, mscale=0.7, mscale_all_dim=1.4), scaling(YARN, truncate=False),
        {**without(YARN, "original_max_position_embeddings"), "max_position_embeddings": 128}, dict(rope_theta=30.0),
    ]),
    "llama-tied": (dict(LLAMA, tie_word_embeddings=True), []),
    "llama-biases": (dict(LLAMA, attention_bias=True, mlp_bias=True),
                     [dict(attention_bias=False), dict(mlp_bias=False)]),
    "mistral": (dict(GATED, model_type="mistral", rope_theta=100.0, sliding_window=7, head_dim=8),
                COMMON[:2] + [dict(sliding_window=5), dict(sliding_window=None)]),
    "qwen2": (dict(GATED, model_type="qwen2", rope_theta=100.0, use_sliding_window=True, sliding_window=6,
                   max_window_layers=1), COMMON + [
        dict(sliding_window=9), dict(use_sliding_window=False), dict(max_window_layers=0),
        dict(layer_types=["sliding_attention", "full_attention"]),
    ]),
    "qwen3": (dict(GATED, model_type="qwen3", head_dim=16, attention_bias=True,
                   rope_parameters={"rope_type": "default", "rope_theta": 100.0}), [
        dict(rope_parameters={"rope_type": "default", "rope_theta": 30.0}), dict(rms_norm_eps=0.1),
        dict(attention_bias=False), dict(use_sliding_window=True, sliding_window=6, max_window_layers=1),
    ]),
    "opt": (OPT, [dict(num_attention_heads=2), dict(activation_function="gelu"), dict(enable_bias=False),
                  dict(layer_norm_elementwise_affine=False), dict(do_layer_norm_before=False),
                  dict(_remove_final_layer_norm=True)]),
    "opt-post-norm": (dict(OPT, do_layer_norm_before=False, word_embed_proj_dim=16),
                      [dict(do_layer_norm_before=True, _remove_final_layer_norm=True)]),
    "mixtral": (dict(GATED, model_type="mixtral", intermediate_size=32, rope_theta=100.0, sliding_window=None,
                     num_local_experts=4, num_experts_per_tok=2),
                COMMON + [dict(num_experts_per_tok=1), dict(num_experts_per_tok=3), dict(sliding_window=5)]),
}


def checkpoint_shapes(config):
    """Tensor names and shapes of a checkpoint on disk; expert weights one by one, tied heads once."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    shapes = {}
    for name, tensor in model.state_dict().items():
        shape = tuple(tensor.shape)
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        if config.model_type != "mixtral" or ".mlp." not in name:
            shapes[name] = shape
            continue
        layer = name[:name.index(".mlp.")] + ".block_sparse_moe"
        if name.endswith("gate_up_proj"):
            for e in range(shape[0]):
                shapes[f"{layer}.experts.{e}.w1.weight"] = (shape[1] // 2, shape[2])
                shapes[f"{layer}.experts.{e}.w3.weight"] = (shape[1] // 2, shape[2])
        elif name.endswith("down_proj"):
            for e in range(shape[0]):
                shapes[f"{layer}.experts.{e}.w2.weight"] = shape[1:]
        else:
            shapes[f"{layer}.gate.weight"] = shape
    return shapes


def random_tensor(name, shape, rng):
    values = rng.standard_normal(shape)
    if name.endswith("norm.weight"):
        values = 1 + 0.2 * values
    elif name.endswith(".bias"):
        values = 0.3 * values
    elif "embed" in name:
        values = 0.5 * values
    elif "q_proj" in name or "k_proj" in name:
        values = 0.4 * values
    else:
        values = 0.2 * values
    return values.astype(np.float16)


def logits(folder, config, ids):
    """float32 logits [tokens, vocab] of the checkpoint in `folder` under another config."""
    with tempfile.TemporaryDirectory() as scratch:
        tensors = safetensors.numpy.load_file(folder / "model.safetensors")
        if config.get("tie_word_embeddings"):  # transformers does not tie a head that is stored and differs
            tensors.pop("lm_head.weight", None)
        safetensors.numpy.save_file(tensors, pathlib.Path(scratch) / "model.safetensors")
        (pathlib.Path(scratch) / "config.json").write_text(json.dumps(config))
        model, info = AutoModelForCausalLM.from_pretrained(scratch, dtype=torch.float32, attn_implementation="eager",
                                                           output_loading_info=True)
    assert not info["missing_keys"] and not info["mismatched_keys"], info
    with torch.no_grad():
        return model.eval()(torch.tensor([ids]), use_cache=False).logits[0].numpy()


def rounded(values):
    return [float(f"{v:.6g}") for v in values]


def make(name, config, toggles, seed):
    folder = OUT / name
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    rng = np.random.default_rng(seed)
    shapes = checkpoint_shapes(AutoConfig.from_pretrained(folder))
    tensors = {tensor: random_tensor(tensor, shape, rng) for tensor, shape in sorted(shapes.items())}
    safetensors.numpy.save_file(tensors, folder / "model.safetensors")

    ids = [int(i) for i in rng.integers(0, config["vocab_size"], TOKENS)]
    base = logits(folder, config, ids)
    rows = []
    for toggle in toggles:
        changes = not toggle.get("unchanged", False)
        keys = {key: value for key, value in toggle.items() if key != "unchanged"}
        row = logits(folder, {**config, **keys}, ids)[-1]
        difference = float(np.abs(row - base[-1]).max())
        print(f"{name:16} {difference:10.3g}  {keys}")
        assert difference > LEAST_CHANGE if changes else difference < 1e-6
        rows.append({"set": keys, "changes": changes, "logits_last": rounded(row)})
    expected = {"ids": ids, "logits": [rounded(row) for row in base], "toggles": rows}
    text = json.dumps(expected).replace('], [', '],\n[').replace('{"set"', '\n{"set"')
    (folder / "expected.json").write_text(text + "\n")
    print(f"{name:16} max |logit| {np.abs(base).max():.3g}")


if __name__ == "__main__":
    shutil.rmtree(OUT, ignore_errors=True)
    for number, (case, (case_config, case_toggles)) in enumerate(CASES.items()):
        make(case, case_config, case_toggles, seed=100 + number)
