// The parts decoder-only families are assembled from. A family reads its config keys into a Decoder, describes one
// block with the builders below, and lets decoder_model() do the rest (llama.cc is the example to copy).
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "arch/architecture.h"

namespace vernier {

// Sizes a config may ask for: far above any published model, low enough that products of two fit and graphs stay small.
inline constexpr std::int64_t kMaxWidth = 1 << 24, kMaxLayers = 4096, kMaxHeads = 1 << 16, kMaxHeadDim = 4096;
inline constexpr std::int64_t kMaxPositions = std::int64_t{1} << 31;

// What a family's checkpoints mean by a key their config.json leaves out.
struct DecoderDefaults {
  std::int64_t max_positions = 2048;
  double rope_theta = 10000;
  double rms_norm_eps = 1e-6;
  std::int64_t kv_heads = 0;  // 0: as many as query heads
  std::int64_t head_dim = 0;  // 0: hidden / heads
};

struct Decoder {
  std::int64_t hidden = 0, intermediate = 0, vocab = 0, layers = 0, max_positions = 0;
  std::int64_t heads = 0, kv_heads = 0, head_dim = 0;
  float eps = 0;  // of every norm
  Rope rope;
  bool tied_head = false;

  // Set by the family.
  bool qkv_bias = false, output_bias = false, mlp_bias = false;
  bool qk_norm = false;               // an RMS norm per head on q and k, before the rotation
  std::vector<std::int64_t> windows;  // [layers], 0 = all positions; empty: all layers see everything
};

// The keys all families share. Activation functions other than SiLU are refused.
Result<Decoder> read_decoder(const ConfigReader& config, const DecoderDefaults& defaults);

// sliding_window: 0 where it is null, `fallback` where it is left out.
Result<std::int64_t> read_window(const ConfigReader& config, std::int64_t fallback);

// The window of each layer by Qwen's keys: layer_types, or use_sliding_window with max_window_layers.
Result<std::vector<std::int64_t>> read_layer_windows(const ConfigReader& config, std::int64_t layers);

// Causal attention over projected q, k, v; scale 1 / sqrt(head_dim). `name` is the attention module's.
ValueId attend(GraphBuilder& b, const std::string& name, ValueId q, ValueId k, ValueId v, std::int64_t heads,
               std::int64_t kv_heads, std::int64_t window = 0);

// {q,k,v}_proj, norms of q and k where the family has them, rotation, attention, o_proj.
ValueId rotary_attention(GraphBuilder& b, const std::string& name, ValueId x, const Decoder& d, std::int64_t window);

// down(silu(gate(x)) * up(x)); Mixtral calls the three w1, w3 and w2.
struct GatedNames {
  const char *gate = "gate_proj", *up = "up_proj", *down = "down_proj";
};
ValueId gated_mlp(GraphBuilder& b, const std::string& name, ValueId x, std::int64_t intermediate, bool bias,
                  const GatedNames& names = {});

// x + attention(norm(x)): the first half of a pre-norm block.
ValueId attention_step(GraphBuilder& b, const std::string& name, std::int64_t layer, ValueId x, const Decoder& d);

// The block of Llama and its kin: attention_step, then x + gated_mlp(norm(x)).
ValueId gated_block(GraphBuilder& b, const std::string& name, std::int64_t layer, ValueId x, const Decoder& d);

// The linear "lm_head", whose weight is `owner`.weight: its own, or the embedding's in a tied model.
ValueId head_linear(GraphBuilder& b, ValueId x, const std::string& owner, std::int64_t vocab);

// One block: reads the hidden state `x`, returns the new one. `name` is "model.layers.<layer>".
using BlockBuilder = std::function<ValueId(GraphBuilder& b, const std::string& name, std::int64_t layer, ValueId x)>;

// Embedding, d.layers blocks, final norm and head, under Hugging Face's names.
ModelGraph decoder_model(std::string architecture, const Decoder& d, const BlockBuilder& block);

}  // namespace vernier
