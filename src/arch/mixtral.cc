// Mixtral (Jiang et al. 2024): Mistral's attention, and an MLP that is chosen per token among experts.
#include "arch/decoder.h"
#include "base/fail.h"

namespace vernier {
namespace {

// Bounds what a config can make us build: 65536 experts over all layers is above any published model.
constexpr std::int64_t kMaxExperts = 1024, kMaxExpertsOfModel = 65536;

// The `top_k` experts with the highest router probability, their weights summing to 1.
ValueId expert_mlp(GraphBuilder& b, const std::string& name, ValueId x, const Decoder& d, std::int64_t experts,
                   std::int64_t top_k) {
  const ValueId scores = b.linear(name + ".gate", x, experts, false);
  const ValueId routing =
      b.op({.kind = OpKind::route, .name = name + ".route", .experts = experts, .top_k = top_k}, {scores}, 2 * top_k);
  std::vector<ValueId> parts{routing};
  for (std::int32_t e = 0; e < experts; ++e) {
    const std::string expert = fmt::format("{}.experts.{}", name, e);
    const ValueId rows = b.op({.kind = OpKind::gather, .name = expert + ".gather", .expert = e, .top_k = top_k},
                              {x, routing}, d.hidden, e);
    parts.push_back(gated_mlp(b, expert, rows, d.intermediate, false, {.gate = "w1", .up = "w3", .down = "w2"}));
  }
  return b.op({.kind = OpKind::combine, .name = name + ".combine", .experts = experts, .top_k = top_k},
              std::move(parts), d.hidden);
}

Result<ModelGraph> build(const ConfigReader& config) {
  VN_ASSIGN(Decoder d,
            read_decoder(config, {.max_positions = 131072, .rope_theta = 1e6, .rms_norm_eps = 1e-5, .kv_heads = 8}));
  VN_ASSIGN(const std::int64_t window, read_window(config, 0));
  d.windows.assign(d.layers, window);
  VN_ASSIGN(const std::int64_t experts, config.size("num_local_experts", kMaxExperts, 8));
  if (experts * d.layers > kMaxExpertsOfModel)
    return config.refuse("num_local_experts", fmt::format("at most {} over all layers", kMaxExpertsOfModel));
  VN_ASSIGN(const std::int64_t top_k, config.size("num_experts_per_tok", experts, std::min<std::int64_t>(2, experts)));

  return decoder_model("mixtral", d, [&](GraphBuilder& b, const std::string& name, std::int64_t layer, ValueId x) {
    x = attention_step(b, name, layer, x, d);
    const ValueId normed = b.rms_norm(name + ".post_attention_layernorm", x, d.eps);
    const ValueId y = expert_mlp(b, name + ".block_sparse_moe", normed, d, experts, top_k);
    return b.binary(OpKind::add, name + ".block_sparse_moe.residual", x, y);
  });
}

constexpr std::string_view kModelTypes[] = {"mixtral"};

}  // namespace

namespace units {
extern const ArchitectureDescriptor arch_mixtral;
const ArchitectureDescriptor arch_mixtral{
    .name = "mixtral",
    .summary = "Mixtral: Mistral's attention with a mixture of gated experts",
    .model_types = kModelTypes,
    .build = build,
};
}  // namespace units
}  // namespace vernier
