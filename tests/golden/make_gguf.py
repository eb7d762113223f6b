#!/usr/bin/env python3
"""Makes tests/golden/gguf/: blocks of every GGUF type with their values, tiny models and tokenizers in GGUF files.

Needs Python with numpy, safetensors, sentencepiece and gguf; the results are committed, so tests need none of them.
Run: python3 tests/golden/make_gguf.py [blocks] [models] [tokenizers] [seeds]

  blocks.json    per type: the bytes of random blocks (hex) and the float32 values that the gguf package decodes (hex,
                 little endian)
  <case>.gguf    the checkpoint of tests/golden/architectures/<case>, F16, so that its logits are those of expected.json
  tokenizer-<case>.gguf  the vocabulary of tests/golden/tokenizers/<case>, or of models/books-6m, without tensors
"""
import json
import pathlib
import sys

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T

HERE = pathlib.Path(__file__).parent
OUT = HERE / "gguf"
BLOCKS = {32: 3, 256: 2}  # blocks of a type, by its columns

# Where the half-precision scales of a block lie, so that random bytes do not make them infinite.
HALVES = {T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0], T.Q2_K: [80, 82], T.Q3_K: [108],
          T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208], T.IQ4_NL: [0], T.IQ4_XS: [0], T.TQ1_0: [52], T.TQ2_0: [64],
          T.MXFP4: []}


def make_blocks():
    draw = np.random.default_rng(7)
    result = {}
    for kind, halves in HALVES.items():
        columns, size = gguf.GGML_QUANT_SIZES[kind]
        blocks = draw.integers(0, 256, (BLOCKS[columns], size), dtype=np.uint8)
        for at in halves:
            scale = draw.normal(0, 0.3, len(blocks)).astype(np.float16)
            blocks[:, at:at + 2] = scale.view(np.uint8).reshape(-1, 2)
        if kind == T.MXFP4:
            blocks[:, 0] = [0, 1, 130]  # two exponents of subnormal steps
        if kind == T.TQ1_0:  # bytes as an encoder makes them: ceil(number * 256 / 243), the last four of four digits
            number = blocks[:, :52].astype(int) * 243 // 256
            number[:, 48:] -= number[:, 48:] % 3
            blocks[:, :52] = (number * 256 + 242) // 243
        values = gguf.quants.dequantize(blocks, kind).astype("<f4")
        assert values.size == len(blocks) * columns and np.isfinite(values).all()
        result[kind.name.lower()] = {"blocks": blocks.tobytes().hex(), "values": values.tobytes().hex()}
    (OUT / "blocks.json").write_text(json.dumps(result, indent=1) + "\n")


def rotary_rows(weight, heads):
    """Rows of q and k as llama.cpp wants them: the two halves of a head interleaved."""
    return weight.reshape(heads, 2, -1, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def llama3_factors(config, head_dim):
    s = config["rope_scaling"]
    factors = []
    for j in range(head_dim // 2):
        wavelength = 2 * np.pi * config["rope_theta"] ** (2 * j / head_dim)
        old = s["original_max_position_embeddings"]
        low, high = old / s["low_freq_factor"], old / s["high_freq_factor"]
        if wavelength < high:
            factors.append(1)
        elif wavelength > low:
            factors.append(s["factor"])
        else:
            smooth = (old / wavelength - s["low_freq_factor"]) / (s["high_freq_factor"] - s["low_freq_factor"])
            factors.append(1 / ((1 - smooth) / s["factor"] + smooth))
    return np.array(factors, np.float32)


def add_config(writer, config, arch):
    heads, layers = config["num_attention_heads"], config["num_hidden_layers"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(layers)
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config.get("rope_theta") or config["rope_parameters"]["rope_theta"])
    writer.add_rope_dimension_count(head_dim)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_vocab_size(config["vocab_size"])
    if config.get("num_local_experts"):
        writer.add_expert_count(config["num_local_experts"])
        writer.add_expert_used_count(config["num_experts_per_tok"])
    scaling = config.get("rope_scaling") or {}
    if scaling.get("type", scaling.get("rope_type")) == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(scaling["factor"])
    return head_dim


def make_model(case, split=0):
    from safetensors.numpy import load_file
    folder = HERE / "architectures" / case
    config = json.loads((folder / "config.json").read_text())
    tensors = load_file(folder / "model.safetensors")
    arch = {"mistral": "llama", "mixtral": "llama"}.get(config["model_type"], config["model_type"])
    names = gguf.get_tensor_name_map({v: k for k, v in gguf.MODEL_ARCH_NAMES.items()}[arch],
                                     config["num_hidden_layers"])
    writer = gguf.GGUFWriter(OUT / f"{case}.gguf", arch, split_max_tensors=split)
    head_dim = add_config(writer, config, arch)
    experts = config.get("num_local_experts", 0)
    if experts:
        for layer in range(config["num_hidden_layers"]):
            for part in ("w1", "w2", "w3"):
                base = f"model.layers.{layer}.block_sparse_moe.experts"
                stack = np.stack([tensors.pop(f"{base}.{e}.{part}.weight") for e in range(experts)])
                tensors[f"model.layers.{layer}.block_sparse_moe.experts.{part}.weight"] = stack
    if (config.get("rope_scaling") or {}).get("rope_type") == "llama3":
        writer.add_tensor("rope_freqs.weight", llama3_factors(config, head_dim))
    for name, value in tensors.items():
        if arch == "llama" and name.endswith(("q_proj.weight", "q_proj.bias")):
            value = rotary_rows(value, config["num_attention_heads"])
        if arch == "llama" and name.endswith(("k_proj.weight", "k_proj.bias")):
            value = rotary_rows(value, config["num_key_value_heads"])
        if value.ndim == 1 or name.endswith("gate.weight"):
            value = value.astype(np.float32)
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight", ".bias")), np.ascontiguousarray(value))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def token_file(case, model, tokens, types):
    writer = gguf.GGUFWriter(OUT / f"tokenizer-{case}.gguf", "llama")
    writer.add_tokenizer_model(model)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    return writer


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def make_byte_tokenizer(case, pre):
    root = json.loads((HERE / "tokenizers" / case / "tokenizer.json").read_text())
    vocab = dict(root["model"]["vocab"])
    added = {t["id"]: t for t in root["added_tokens"]}
    vocab.update({t["content"]: t["id"] for t in added.values()})
    by_id = {i: t for t, i in vocab.items()}
    tokens, types = [], []
    for i in range(max(by_id) + 1):
        tokens.append(by_id.get(i, f"[PAD{i}]"))
        kind = gguf.TokenType.NORMAL if i in by_id else gguf.TokenType.UNUSED
        if i in added:
            kind = gguf.TokenType.CONTROL if added[i]["special"] else gguf.TokenType.USER_DEFINED
        types.append(kind)
    writer = token_file(case, "gpt2", tokens, types)
    writer.add_tokenizer_pre(pre)
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in root["model"]["merges"]])
    finish(writer)


def make_sentencepiece():
    import sentencepiece
    model = sentencepiece.SentencePieceProcessor(model_file=str(HERE.parent.parent / "models/books-6m/tokenizer.model"))
    count = range(model.get_piece_size())
    kinds = [gguf.TokenType.BYTE if model.is_byte(i) else gguf.TokenType.CONTROL if model.is_control(i) else
             gguf.TokenType.UNKNOWN if model.is_unknown(i) else gguf.TokenType.NORMAL for i in count]
    writer = token_file("books-6m", "llama", [model.id_to_piece(i) for i in count], kinds)
    writer.add_token_scores([model.get_score(i) for i in count])
    writer.add_bos_token_id(model.bos_id())
    writer.add_eos_token_id(model.eos_id())
    writer.add_unk_token_id(model.unk_id())
    writer.add_add_bos_token(True)
    finish(writer)


def make_seed(model):
    """Where tools/fuzz starts: all kinds of metadata in a file of a few hundred bytes."""
    writer = gguf.GGUFWriter(HERE.parent / "fuzz/corpus/fuzz_gguf" / model, "llama")
    add_config(writer, dict(num_attention_heads=1, num_hidden_layers=1, num_key_value_heads=1, hidden_size=4,
                            max_position_embeddings=16, intermediate_size=4, rms_norm_eps=1e-5, rope_theta=1e4,
                            vocab_size=6), "llama")
    writer.add_tokenizer_model(model)
    writer.add_token_list(["<unk>", "<s>", "</s>", "a", "b", "ab"])
    writer.add_token_types([2, 3, 3, 1, 1, 1])
    writer.add_bos_token_id(1)
    if model == "gpt2":
        writer.add_tokenizer_pre("llama-bpe")
        writer.add_token_merges(["a b"])
    else:
        writer.add_token_scores([0.0, 0.0, 0.0, -1.0, -2.0, -0.5])
    writer.add_tensor("token_embd.weight", np.zeros((6, 4), np.float16))
    writer.add_tensor("blk.0.attn_q.weight", np.zeros((4, 34), np.uint8), raw_dtype=T.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    what = sys.argv[1:] or ["blocks", "models", "tokenizers", "seeds"]
    OUT.mkdir(exist_ok=True)
    if "blocks" in what:
        make_blocks()
    if "models" in what:
        for case in ("llama", "llama-linear", "llama-llama3", "llama-tied", "mixtral", "qwen2", "qwen3"):
            make_model(case, split=8 if case == "llama-linear" else 0)
    if "tokenizers" in what:
        make_byte_tokenizer("llama3", "llama-bpe")
        make_byte_tokenizer("qwen2", "qwen2")
        make_sentencepiece()
    if "seeds" in what:
        make_seed("llama")
        make_seed("gpt2")


main()
