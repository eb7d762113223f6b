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
    .also_reads = "columns in another order (g_idx) and padded words, of older releases",
    .accepts = compressed_tensors::accepts,
    .layout = compressed_tensors::layout,
    .encode = compressed_tensors::encode,
    .config = compressed_tensors::config,
    .recognizes = recognizes,
    .open = compressed_tensors::open};
}  // namespace units

}  // namespace vernier
