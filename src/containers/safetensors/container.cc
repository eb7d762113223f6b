// Plain float checkpoints as Hugging Face saves them.
#include "containers/container.h"

#include <set>

#include "base/fail.h"
#include "containers/stored_source.h"
#include "io/torch_dtype.h"

namespace vernier {
namespace {

Status accepts(const OutputPlan& plan) {
  for (const WeightPlan& weight : plan.weights)
    if (weight.grid)
      return with_hint(fail(ErrorCode::unsupported, "container safetensors holds floats only, but {} becomes {}",
                            weight.name, weight.grid->text()),
                       "--container vernier holds anything");
  return {};
}

std::vector<TensorEntry> layout(const WeightPlan& weight) { return {{weight.name, weight.dtype, weight.shape}}; }

Result<std::vector<Tensor>> encode(const WeightPlan& plan, const GridPart&) {
  return fail(ErrorCode::unsupported, "container safetensors holds floats only, but {} is quantized", plan.name);
}

Result<Json> config(const OutputPlan& plan) {
  Json config = plan.config();
  config.erase("quantization_config");
  // Loaders convert every tensor to the type that the config names: one that holds every matrix.
  std::set<DType> types;
  for (const WeightPlan& weight : plan.weights)
    if (weight.shape.rank() == 2 && is_float(weight.dtype)) types.insert(weight.dtype);
  for (const char* key : {"torch_dtype", "dtype"})
    if (config.contains(key) && !types.empty())
      config[key] = torch_name(types.size() == 1 ? *types.begin() : DType::f32);
  return config;
}

bool recognizes(const Json& config) {
  const auto quantization = config.find("quantization_config");
  return quantization == config.end() || quantization->is_null();
}

Result<std::unique_ptr<ModelSource>> open(std::unique_ptr<Checkpoint> checkpoint) {
  VN_ASSIGN(ModelGraph graph, graph_of(*checkpoint));
  std::unordered_set<std::string> wanted;
  for (const Graph* part : graph.graphs())
    for (const TensorRef& tensor : part->tensors) wanted.insert(tensor.name);

  std::vector<LogicalTensor> tensors;
  for (const Checkpoint::Entry& entry : checkpoint->entries()) {
    // Exports of the bare base model leave out the prefix that the model with a head has.
    std::string prefixed = "model." + entry.tensor.name;
    const bool bare = !wanted.contains(entry.tensor.name) && wanted.contains(prefixed) && !checkpoint->find(prefixed);
    tensors.push_back(plain_tensor(entry.tensor, bare ? std::move(prefixed) : entry.tensor.name));
  }
  return StoredSource::make(std::move(checkpoint), std::move(graph), "safetensors", std::move(tensors));
}

}  // namespace

namespace units {
extern const ContainerDescriptor container_safetensors;
const ContainerDescriptor container_safetensors{.name = "safetensors",
                                                .summary = "float checkpoints as Hugging Face saves them",
                                                .accepts = accepts,
                                                .layout = layout,
                                                .encode = encode,
                                                .config = config,
                                                .recognizes = recognizes,
                                                .open = open};
}  // namespace units
}  // namespace vernier
