// OPT (Zhang et al. 2022): layer norms, biases, learned positions, ungated MLP. The 350M model norms after each half
// of a block instead of before and projects its narrower embeddings in and out; Galactica drops biases and norm
// weights.
#include "arch/decoder.h"
#include "base/fail.h"

namespace vernier {
namespace {

constexpr std::int64_t kPositionOffset = 2;  // the first two rows of the table stand for padding
constexpr float kNormEps = 1e-5f;

struct Opt {
  std::int64_t hidden, intermediate, vocab, layers, max_positions, heads, embedding;
  bool norm_before, final_norm, biases, norm_weights, tied_head;
  OpKind activation;
};

Result<Opt> read(const ConfigReader& config) {
  Opt m;
  VN_ASSIGN(m.hidden, config.size("hidden_size", kMaxWidth));
  VN_ASSIGN(m.intermediate, config.size("ffn_dim", kMaxWidth));
  VN_ASSIGN(m.vocab, config.size("vocab_size", kMaxWidth));
  VN_ASSIGN(m.layers, config.size("num_hidden_layers", kMaxLayers));
  VN_ASSIGN(m.max_positions, config.size("max_position_embeddings", kMaxPositions, 2048));
  VN_ASSIGN(m.heads, config.size("num_attention_heads", kMaxHeads));
  if (m.hidden % m.heads != 0)
    return config.refuse("num_attention_heads", fmt::format("a divisor of hidden_size {}", m.hidden));
  VN_ASSIGN(m.embedding, config.size("word_embed_proj_dim", kMaxWidth, m.hidden));
  VN_ASSIGN(m.norm_before, config.boolean("do_layer_norm_before", true));
  VN_ASSIGN(const bool no_final_norm, config.boolean("_remove_final_layer_norm", false));
  m.final_norm = m.norm_before && !no_final_norm;
  VN_ASSIGN(m.biases, config.boolean("enable_bias", true));
  VN_ASSIGN(m.norm_weights, config.boolean("layer_norm_elementwise_affine", true));
  VN_ASSIGN(m.tied_head, config.boolean("tie_word_embeddings", true));
  VN_ASSIGN(const std::string activation, config.string("activation_function", "relu"));
  if (activation != "relu" && activation != "gelu") return config.refuse("activation_function", "relu or gelu");
  m.activation = activation == "relu" ? OpKind::relu : OpKind::gelu;
  return m;
}

ValueId norm(GraphBuilder& b, const std::string& name, ValueId x, const Opt& m) {
  if (m.norm_weights) return b.layer_norm(name, x, kNormEps);
  return b.op({.kind = OpKind::layer_norm, .name = name, .eps = kNormEps}, {x}, b.width(x));
}

ValueId attention(GraphBuilder& b, const std::string& name, ValueId x, const Opt& m) {
  const ValueId q = b.linear(name + ".q_proj", x, m.hidden, m.biases);
  const ValueId k = b.linear(name + ".k_proj", x, m.hidden, m.biases);
  const ValueId v = b.linear(name + ".v_proj", x, m.hidden, m.biases);
  return b.linear(name + ".out_proj", attend(b, name, q, k, v, m.heads, m.heads), m.hidden, m.biases);
}

Graph embedding_graph(const Opt& m) {
  GraphBuilder b("embed");
  Op lookup{.kind = OpKind::embedding, .name = "model.decoder.embed_tokens"};
  lookup.weight = b.tensor("model.decoder.embed_tokens.weight", {m.vocab, m.embedding});
  ValueId x = b.op(std::move(lookup), {}, m.embedding);
  if (m.embedding != m.hidden) x = b.linear("model.decoder.project_in", x, m.hidden, false);
  Op positions{.kind = OpKind::position_embedding, .name = "model.decoder.embed_positions"};
  positions.offset = kPositionOffset;
  positions.weight = b.tensor("model.decoder.embed_positions.weight", {m.max_positions + kPositionOffset, m.hidden});
  return b.finish(b.op(std::move(positions), {x}, m.hidden));
}

Graph block(const std::string& name, const Opt& m) {
  GraphBuilder b(name);
  ValueId x = b.input(name + ".input", m.hidden);
  ValueId y = m.norm_before ? norm(b, name + ".self_attn_layer_norm", x, m) : x;
  x = b.binary(OpKind::add, name + ".self_attn.residual", x, attention(b, name + ".self_attn", y, m));
  if (!m.norm_before) x = norm(b, name + ".self_attn_layer_norm", x, m);

  y = m.norm_before ? norm(b, name + ".final_layer_norm", x, m) : x;
  y = b.linear(name + ".fc1", y, m.intermediate, m.biases);
  y = b.unary(m.activation, name + ".act", y);
  y = b.linear(name + ".fc2", y, m.hidden, m.biases);
  x = b.binary(OpKind::add, name + ".residual", x, y);
  if (!m.norm_before) x = norm(b, name + ".final_layer_norm", x, m);
  return b.finish(x);
}

Graph head_graph(const Opt& m) {
  GraphBuilder b("head");
  ValueId x = b.input("head.input", m.hidden);
  if (m.final_norm) x = norm(b, "model.decoder.final_layer_norm", x, m);
  if (m.embedding != m.hidden) x = b.linear("model.decoder.project_out", x, m.embedding, false);
  return b.finish(head_linear(b, x, m.tied_head ? "model.decoder.embed_tokens" : "lm_head", m.vocab));
}

Result<ModelGraph> build(const ConfigReader& config) {
  VN_ASSIGN(const Opt m, read(config));
  ModelGraph model{.architecture = "opt",
                   .hidden = m.hidden,
                   .vocab = m.vocab,
                   .layers = m.layers,
                   .max_positions = m.max_positions,
                   .kv_heads = m.heads,
                   .head_dim = m.hidden / m.heads,
                   .tied_head = m.tied_head};
  model.embed = embedding_graph(m);
  for (std::int64_t i = 0; i < m.layers; ++i)
    model.blocks.push_back(block(fmt::format("model.decoder.layers.{}", i), m));
  model.head = head_graph(m);
  return model;
}

constexpr std::string_view kModelTypes[] = {"opt"};

}  // namespace

namespace units {
extern const ArchitectureDescriptor arch_opt;
const ArchitectureDescriptor arch_opt{
    .name = "opt",
    .summary = "OPT and Galactica: layer norms, learned positions, ungated MLP",
    .model_types = kModelTypes,
    .build = build,
};
}  // namespace units
}  // namespace vernier
