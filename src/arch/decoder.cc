#include "arch/decoder.h"

#include <algorithm>
#include <cmath>

#include "arch/rope.h"
#include "base/fail.h"

namespace vernier {
namespace {

Graph embedding_graph(const Decoder& d) {
  GraphBuilder b("embed");
  Op lookup{.kind = OpKind::embedding, .name = "model.embed_tokens"};
  lookup.weight = b.tensor("model.embed_tokens.weight", {d.vocab, d.hidden});
  return b.finish(b.op(std::move(lookup), {}, d.hidden));
}

Graph head_graph(const Decoder& d) {
  GraphBuilder b("head");
  const ValueId x = b.rms_norm("model.norm", b.input("head.input", d.hidden), d.eps);
  return b.finish(head_linear(b, x, d.tied_head ? "model.embed_tokens" : "lm_head", d.vocab));
}

}  // namespace

Result<Decoder> read_decoder(const ConfigReader& config, const DecoderDefaults& defaults) {
  Decoder d;
  VN_ASSIGN(d.hidden, config.size("hidden_size", kMaxWidth));
  VN_ASSIGN(d.intermediate, config.size("intermediate_size", kMaxWidth));
  VN_ASSIGN(d.vocab, config.size("vocab_size", kMaxWidth));
  VN_ASSIGN(d.layers, config.size("num_hidden_layers", kMaxLayers));
  VN_ASSIGN(d.max_positions, config.size("max_position_embeddings", kMaxPositions, defaults.max_positions));
  VN_ASSIGN(d.heads, config.size("num_attention_heads", kMaxHeads));
  const std::int64_t kv_heads = defaults.kv_heads > 0 ? defaults.kv_heads : d.heads;
  VN_ASSIGN(d.kv_heads, config.size("num_key_value_heads", kMaxHeads, kv_heads));
  if (d.heads % d.kv_heads != 0)
    return config.refuse("num_key_value_heads", fmt::format("a divisor of num_attention_heads {}", d.heads));

  if (config.find("head_dim") == nullptr && defaults.head_dim == 0 && d.hidden % d.heads != 0)
    return config.refuse("num_attention_heads", fmt::format("a divisor of hidden_size {}", d.hidden));
  const std::int64_t head_dim = defaults.head_dim > 0 ? defaults.head_dim : d.hidden / d.heads;
  VN_ASSIGN(d.head_dim, config.size("head_dim", kMaxHeadDim, head_dim));
  if (d.head_dim > kMaxHeadDim) return config.refuse("head_dim", fmt::format("at most {}", kMaxHeadDim));

  VN_ASSIGN(const double eps, config.number("rms_norm_eps", defaults.rms_norm_eps));
  if (eps < 0) return config.refuse("rms_norm_eps", "a number >= 0");
  d.eps = static_cast<float>(eps);
  VN_ASSIGN(const std::string activation, config.string("hidden_act", "silu"));
  if (activation != "silu" && activation != "swish") return config.refuse("hidden_act", "silu");
  VN_ASSIGN(d.tied_head, config.boolean("tie_word_embeddings", false));
  VN_ASSIGN(d.rope, read_rope(config, d.head_dim, d.max_positions, defaults.rope_theta));
  return d;
}

Result<std::int64_t> read_window(const ConfigReader& config, std::int64_t fallback) {
  if (config.find("sliding_window") == nullptr) return config.states("sliding_window") ? 0 : fallback;
  return config.size("sliding_window", kMaxPositions);
}

Result<std::vector<std::int64_t>> read_layer_windows(const ConfigReader& config, std::int64_t layers) {
  VN_ASSIGN(const bool windowed, config.boolean("use_sliding_window", false));
  std::int64_t window = 0;
  if (windowed) {
    VN_ASSIGN(window, read_window(config, 4096));
  }
  VN_ASSIGN(const std::int64_t full_layers, config.integer("max_window_layers", 28));
  std::vector<std::int64_t> windows(layers, 0);
  const Json* types = config.find("layer_types");
  if (types == nullptr) {
    for (std::int64_t i = full_layers; i < layers; ++i) windows[i] = window;
    return windows;
  }
  if (!types->is_array() || static_cast<std::int64_t>(types->size()) != layers)
    return config.refuse("layer_types", fmt::format("a list of {} names", layers));
  for (std::int64_t i = 0; i < layers; ++i) {
    const Json& type = (*types)[i];
    if (type == "sliding_attention" && window > 0)
      windows[i] = window;
    else if (type == "sliding_attention")
      return config.refuse("sliding_window", "a width, with use_sliding_window, since layer_types slides");
    else if (type != "full_attention")
      return config.refuse("layer_types", "full_attention or sliding_attention");
  }
  return windows;
}

ValueId attend(GraphBuilder& b, const std::string& name, ValueId q, ValueId k, ValueId v, std::int64_t heads,
               std::int64_t kv_heads, std::int64_t window) {
  const std::int64_t head_dim = b.width(q) / heads;
  return b.op({.kind = OpKind::attention,
               .name = name + ".attention",
               .heads = heads,
               .kv_heads = kv_heads,
               .head_dim = head_dim,
               .scale = static_cast<float>(1 / std::sqrt(static_cast<double>(head_dim))),
               .window = window},
              {q, k, v}, heads * head_dim);
}

ValueId rotary_attention(GraphBuilder& b, const std::string& name, ValueId x, const Decoder& d, std::int64_t window) {
  const auto rotate = [&](const char* what, ValueId heads_of, std::int64_t heads) {
    return b.op({.kind = OpKind::rope, .name = name + what, .heads = heads, .head_dim = d.head_dim, .rope = d.rope},
                {heads_of}, heads * d.head_dim);
  };
  ValueId q = b.linear(name + ".q_proj", x, d.heads * d.head_dim, d.qkv_bias);
  ValueId k = b.linear(name + ".k_proj", x, d.kv_heads * d.head_dim, d.qkv_bias);
  const ValueId v = b.linear(name + ".v_proj", x, d.kv_heads * d.head_dim, d.qkv_bias);
  if (d.qk_norm) {
    q = b.rms_norm(name + ".q_norm", q, d.eps, d.head_dim);
    k = b.rms_norm(name + ".k_norm", k, d.eps, d.head_dim);
  }
  q = rotate(".q_rope", q, d.heads);
  k = rotate(".k_rope", k, d.kv_heads);
  const ValueId mixed = attend(b, name, q, k, v, d.heads, d.kv_heads, window);
  return b.linear(name + ".o_proj", mixed, d.hidden, d.output_bias);
}

ValueId gated_mlp(GraphBuilder& b, const std::string& name, ValueId x, std::int64_t intermediate, bool bias,
                  const GatedNames& names) {
  const std::int64_t hidden = b.width(x);
  const ValueId gate = b.linear(fmt::format("{}.{}", name, names.gate), x, intermediate, bias);
  const ValueId up = b.linear(fmt::format("{}.{}", name, names.up), x, intermediate, bias);
  const ValueId gated = b.binary(OpKind::multiply, name + ".gated", b.unary(OpKind::silu, name + ".act", gate), up);
  return b.linear(fmt::format("{}.{}", name, names.down), gated, hidden, bias);
}

ValueId attention_step(GraphBuilder& b, const std::string& name, std::int64_t layer, ValueId x, const Decoder& d) {
  const ValueId normed = b.rms_norm(name + ".input_layernorm", x, d.eps);
  const std::int64_t window = d.windows.empty() ? 0 : d.windows[layer];
  return b.binary(OpKind::add, name + ".self_attn.residual", x,
                  rotary_attention(b, name + ".self_attn", normed, d, window));
}

ValueId gated_block(GraphBuilder& b, const std::string& name, std::int64_t layer, ValueId x, const Decoder& d) {
  x = attention_step(b, name, layer, x, d);
  const ValueId normed = b.rms_norm(name + ".post_attention_layernorm", x, d.eps);
  return b.binary(OpKind::add, name + ".mlp.residual", x,
                  gated_mlp(b, name + ".mlp", normed, d.intermediate, d.mlp_bias));
}

ValueId head_linear(GraphBuilder& b, ValueId x, const std::string& owner, std::int64_t vocab) {
  Op head{.kind = OpKind::linear, .name = "lm_head"};
  head.weight = b.tensor(owner + ".weight", {vocab, b.width(x)});
  return b.op(std::move(head), {x}, vocab);
}

ModelGraph decoder_model(std::string architecture, const Decoder& d, const BlockBuilder& block) {
  ModelGraph model{.architecture = std::move(architecture),
                   .hidden = d.hidden,
                   .vocab = d.vocab,
                   .layers = d.layers,
                   .max_positions = d.max_positions,
                   .kv_heads = d.kv_heads,
                   .head_dim = d.head_dim,
                   .tied_head = d.tied_head};
  const bool all_slide = !d.windows.empty() && std::find(d.windows.begin(), d.windows.end(), 0) == d.windows.end();
  if (all_slide) model.window = *std::max_element(d.windows.begin(), d.windows.end());
  model.embed = embedding_graph(d);
  for (std::int64_t i = 0; i < d.layers; ++i) {
    const std::string name = fmt::format("model.layers.{}", i);
    GraphBuilder b(name);
    const ValueId x = b.input(name + ".input", d.hidden);
    model.blocks.push_back(b.finish(block(b, name, i, x)));
  }
  model.head = head_graph(d);
  return model;
}

}  // namespace vernier
