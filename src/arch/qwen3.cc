// Qwen3, dense (Yang et al. 2025): Llama's block with an RMS norm on each head of q and k, heads wider than
// hidden / heads.
#include "arch/decoder.h"

namespace vernier {
namespace {

Result<ModelGraph> build(const ConfigReader& config) {
  VN_ASSIGN(Decoder d, read_decoder(config, {.max_positions = 32768, .head_dim = 128}));
  VN_ASSIGN(d.windows, read_layer_windows(config, d.layers));
  VN_ASSIGN(d.qkv_bias, config.boolean("attention_bias", false));
  d.output_bias = d.qkv_bias;
  d.qk_norm = true;

  return decoder_model("qwen3", d, [&](GraphBuilder& b, const std::string& name, std::int64_t layer, ValueId x) {
    return gated_block(b, name, layer, x, d);
  });
}

constexpr std::string_view kModelTypes[] = {"qwen3"};

}  // namespace

namespace units {
extern const ArchitectureDescriptor arch_qwen3;
const ArchitectureDescriptor arch_qwen3{
    .name = "qwen3",
    .summary = "Qwen3 (dense): Llama's block with norms on the heads of q and k",
    .model_types = kModelTypes,
    .build = build,
};
}  // namespace units
}  // namespace vernier
