// Llama 1, 2, 3.x (Touvron et al. 2023; Grattafiori et al. 2024) and every checkpoint that says it is one.
//
// The example to copy: defaults for keys a config may leave out, the keys of this family alone, one block.
#include "arch/decoder.h"

namespace vernier {
namespace {

Result<ModelGraph> build(const ConfigReader& config) {
  VN_ASSIGN(Decoder d, read_decoder(config, {.max_positions = 2048, .rope_theta = 10000, .rms_norm_eps = 1e-6}));
  VN_ASSIGN(d.qkv_bias, config.boolean("attention_bias", false));
  d.output_bias = d.qkv_bias;
  VN_ASSIGN(d.mlp_bias, config.boolean("mlp_bias", false));

  return decoder_model("llama", d, [&](GraphBuilder& b, const std::string& name, std::int64_t layer, ValueId x) {
    return gated_block(b, name, layer, x, d);
  });
}

constexpr std::string_view kModelTypes[] = {"llama"};

}  // namespace

namespace units {
extern const ArchitectureDescriptor arch_llama;
const ArchitectureDescriptor arch_llama{
    .name = "llama",
    .summary = "Llama 1, 2, 3.x: RMS norm, rotary positions, grouped heads, gated SiLU",
    .model_types = kModelTypes,
    .build = build,
};
}  // namespace units
}  // namespace vernier
