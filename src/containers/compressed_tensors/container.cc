#include "containers/container.h"

#include "containers/compressed_tensors/compressed_tensors.h"

namespace vernier {
namespace {

bool recognizes(const Json& config) {
  const auto quantization = config.find("quantization_config");
  if (quantization == config.end() || !quantization->is_object()) return false;
  const auto method = quantization->find("quant_method");
  return method != quantization->end() && *method == "compressed-tensors";
}

}  // namespace

namespace units {
extern const ContainerDescriptor container_compressed_tensors;
const ContainerDescriptor container_compressed_tensors{
    .name = "compressed-tensors",
    .summary = "integers as vLLM and transformers load them: pack-quantized, and int-quantized for W8A8",
    .accepts = compressed_tensors::accepts,
    .layout = compressed_tensors::layout,
    .encode = compressed_tensors::encode,
    .config = compressed_tensors::config,
    .recognizes = recognizes,
    .open = compressed_tensors::open};
}  // namespace units

}  // namespace vernier
