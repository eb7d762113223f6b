// Qwen2 and Qwen2.5 (Yang et al. 2024): Llama's block with biases on q, k and v; upper layers may slide.
#include "arch/decoder.h"

namespace vernier {
namespace {

Result<ModelGraph> build(const ConfigReader& config) {
  VN_ASSIGN(Decoder d, read_decoder(config, {.max_positions = 32768}));
  VN_ASSIGN(d.windows, read_layer_windows(config, d.layers));
  d.qkv_bias = true;

  return decoder_model("qwen2", d, [&](GraphBuilder& b, const std::string& name, std::int64_t layer, ValueId x) {
    return gated_block(b, name, layer, x, d);
  });
}

constexpr std::string_view kModelTypes[] = {"qwen2"};

}  // namespace

namespace units {
extern const ArchitectureDescriptor arch_qwen2;
const ArchitectureDescriptor arch_qwen2{
    .name = "qwen2",
    .summary = "Qwen2 and 2.5: Llama's block with biases on q, k and v",
    .model_types = kModelTypes,
    .build = build,
};
}  // namespace units
}  // namespace vernier
