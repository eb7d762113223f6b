#include "containers/container.h"

#include "containers/compressed_tensors/compressed_tensors.h"

namespace vernier {
namespace {

bool recognizes(const Json& config) { return quant_method(config) == "compressed-tensors"; }

}  // namespace

namespace units {
extern const ContainerDescriptor container_compressed_tensors;
const ContainerDescriptor container_compressed_tensors{
    .name = "compressed-tensors",
    .summary = "integers, FP8, NVFP4 and MXFP4 as vLLM and transformers load them",
    .accepts = compressed_tensors::accepts,
    .layout = compressed_tensors::layout,
    .encode = compressed_tensors::encode,
    .config = compressed_tensors::config,
    .recognizes = recognizes,
    .open = compressed_tensors::open};
}  // namespace units

}  // namespace vernier
