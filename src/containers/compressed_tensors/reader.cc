#include <algorithm>
#include <cmath>
#include <cstring>
#include <unordered_set>

#include "arch/architecture.h"
#include "base/fail.h"
#include "containers/compressed_tensors/compressed_tensors.h"
#include "containers/compressed_tensors/float_matrix.h"
#include "containers/compressed_tensors/matrix.h"
#include "containers/compressed_tensors/scheme.h"
#include "containers/stored_source.h"
#include "tensor/convert.h"

namespace vernier::compressed_tensors {
namespace {

constexpr std::string_view kPacked = ".weight_packed";
constexpr std::string_view kScale = ".weight_scale";
constexpr std::string_view kWeight = ".weight";

// The module whose quantized weight `entry` holds, or "".
std::string quantized_module(const Checkpoint& checkpoint, const TensorEntry& entry) {
  if (entry.name.ends_with(kPacked)) return entry.name.substr(0, entry.name.size() - kPacked.size());
  if (!entry.name.ends_with(kWeight) || (entry.dtype != DType::i8 && entry.dtype != DType::f8_e4m3)) return {};
  std::string module = entry.name.substr(0, entry.name.size() - kWeight.size());
  return checkpoint.find(module + std::string(kScale)) ? module : std::string();
}

// One number of a static input quantizer, or an error that names it.
Result<float> scalar(const Checkpoint& checkpoint, const std::string& name) {
  VN_ASSIGN(const TensorView view, checkpoint.view(name));
  if (view.shape.elements() != 1)
    return fail(ErrorCode::mismatch, "{}: tensor {} has shape {}, wanted one element", checkpoint.folder(), name,
                view.shape.text());
  if (view.dtype == DType::i8) {
    std::int8_t value;
    std::memcpy(&value, view.bytes.data(), 1);
    return static_cast<float>(value);
  }
  VN_ASSIGN(const Tensor value, to_float_tensor(view, checkpoint.folder() + ": " + name));
  return value.as<float>()[0];
}

Result<std::optional<ActivationSpec>> activation_of(const Checkpoint& checkpoint, const Group& group,
                                                    const std::string& module, std::vector<std::string>& stored) {
  std::optional<ActivationSpec> activation = group.activation;
  if (!activation || activation->dynamic) return activation;
  const std::string scale = module + ".input_scale", zero = module + ".input_zero_point";
  VN_ASSIGN(activation->scale, scalar(checkpoint, scale));
  if (!std::isfinite(activation->scale) || activation->scale <= 0)
    return fail(ErrorCode::invalid, "{}: tensor {} is {}, wanted a positive number", checkpoint.folder(), scale,
                activation->scale);
  stored.push_back(scale);
  if (!activation->symmetric) {
    VN_ASSIGN(const float signed_zero, scalar(checkpoint, zero));
    activation->zero = signed_zero + static_cast<float>(1 << (activation->bits - 1));
    stored.push_back(zero);
  } else if (checkpoint.find(zero)) {
    stored.push_back(zero);  // written by some releases, all zero
  }
  return activation;
}

// The stored form of a module's weight, integers or floats: what opens it, and what it is called.
template <class Tensors>
void describe(const Checkpoint& checkpoint, const Tensors& tensors, const GridSpec& grid, LogicalTensor& logical) {
  logical.stored = tensors.names;
  std::int64_t bytes = 0;
  for (const std::string& name : tensors.names) bytes += checkpoint.find(name)->tensor.bytes();
  logical.info = {logical.info.name, Shape{tensors.rows, tensors.cols}, grid.text(), bytes};
  logical.info.grid = grid;
}

Result<LogicalTensor> quantized_tensor(const Checkpoint& checkpoint, const Scheme& scheme, const std::string& module) {
  VN_ASSIGN(const bool ignored, scheme.ignores(module));
  if (ignored)
    return with_hint(fail(ErrorCode::mismatch, "{}.ignore keeps module {} in floats, but it is stored quantized",
                          scheme.where, module),
                     "config.json and the weights must come from one run");
  VN_ASSIGN(const Group* group, scheme.group_of(module));
  LogicalTensor logical;
  logical.info.name = module + std::string(kWeight);
  if (group->grid.format == "int") {
    VN_ASSIGN(const ModuleTensors tensors, find_tensors(checkpoint, *group, module));
    describe(checkpoint, tensors, tensors.grid(), logical);
    logical.info.column_groups = !tensors.column_group_name.empty();
    logical.open = [tensors](const Checkpoint& from) { return open_matrix(from, tensors); };
    logical.part = [tensors](const Checkpoint& from) { return read_part(from, tensors); };
  } else {
    VN_ASSIGN(const FloatTensors tensors, find_float_tensors(checkpoint, group->grid, module));
    describe(checkpoint, tensors, tensors.spec, logical);
    logical.open = [tensors](const Checkpoint& from) { return open_float_matrix(from, tensors); };
    logical.part = [tensors](const Checkpoint& from) { return read_float_part(from, tensors); };
  }
  VN_ASSIGN(logical.activation, activation_of(checkpoint, *group, module, logical.stored));
  return logical;
}

// Linears that the config says are quantized, and that are stored in floats.
Status check_targets(const Checkpoint& checkpoint, const Scheme& scheme, const ModelGraph& graph,
                     const std::unordered_set<std::string>& quantized) {
  std::unordered_set<std::string> embeddings;
  for (const Op& op : graph.embed.ops)
    if (op.weight >= 0) embeddings.insert(graph.embed.tensors[op.weight].name);
  for (const Graph* part : graph.graphs()) {
    for (const Op& op : part->ops) {
      if (op.kind != OpKind::linear || op.weight < 0) continue;
      const std::string& weight = part->tensors[op.weight].name;
      if (!weight.ends_with(kWeight) || quantized.contains(weight) || embeddings.contains(weight)) continue;
      if (!checkpoint.find(weight)) continue;  // missing altogether: reported as such
      const std::string module = weight.substr(0, weight.size() - kWeight.size());
      VN_ASSIGN(const bool ignored, scheme.ignores(module));
      if (ignored) continue;
      VN_ASSIGN(const Group* group, scheme.find_group(module, true));
      if (group)
        return with_hint(
            fail(ErrorCode::mismatch, "{}: tensor {} is stored as {}, but {} makes it {}", checkpoint.folder(), weight,
                 name(checkpoint.find(weight)->tensor.dtype), group->where, group->grid.text()),
            "list the module under ignore, if it was left in floats");
    }
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<ModelSource>> open(std::unique_ptr<Checkpoint> checkpoint) {
  VN_ASSIGN(const Scheme scheme, parse_scheme(checkpoint->config(), checkpoint->folder() + "/config.json"));
  VN_ASSIGN(ModelGraph graph, graph_of(*checkpoint));
  std::vector<LogicalTensor> tensors;
  std::unordered_set<std::string> claimed;
  for (const Checkpoint::Entry& entry : checkpoint->entries()) {
    const std::string module = quantized_module(*checkpoint, entry.tensor);
    if (module.empty()) continue;
    VN_ASSIGN(LogicalTensor tensor, quantized_tensor(*checkpoint, scheme, module));
    claimed.insert(tensor.stored.begin(), tensor.stored.end());
    tensors.push_back(std::move(tensor));
  }
  std::unordered_set<std::string> quantized;
  for (const LogicalTensor& tensor : tensors) quantized.insert(tensor.info.name);
  VN_TRY(check_targets(*checkpoint, scheme, graph, quantized));
  if (scheme.kv_bits > 0)
    for (const Checkpoint::Entry& entry : checkpoint->entries())
      if (entry.tensor.name.ends_with(".k_scale") || entry.tensor.name.ends_with(".v_scale"))
        claimed.insert(entry.tensor.name);
  append_plain_tensors(*checkpoint, claimed, tensors);
  return StoredSource::make(std::move(checkpoint), std::move(graph), "compressed-tensors", std::move(tensors),
                            scheme.kv_bits);
}

}  // namespace vernier::compressed_tensors
