// Mistral 7B and kin (Jiang et al. 2023): Llama's block, with a sliding window in every layer.
#include "arch/decoder.h"

namespace vernier {
namespace {

Result<ModelGraph> build(const ConfigReader& config) {
  VN_ASSIGN(Decoder d, read_decoder(config, {.max_positions = 131072, .kv_heads = 8}));
  VN_ASSIGN(const std::int64_t window, read_window(config, 4096));
  d.windows.assign(d.layers, window);

  return decoder_model("mistral", d, [&](GraphBuilder& b, const std::string& name, std::int64_t layer, ValueId x) {
    return gated_block(b, name, layer, x, d);
  });
}

constexpr std::string_view kModelTypes[] = {"mistral"};

}  // namespace

namespace units {
extern const ArchitectureDescriptor arch_mistral;
const ArchitectureDescriptor arch_mistral{
    .name = "mistral",
    .summary = "Mistral: Llama's block with a sliding window",
    .model_types = kModelTypes,
    .build = build,
};
}  // namespace units
}  // namespace vernier
