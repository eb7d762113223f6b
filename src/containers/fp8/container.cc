// FP8 checkpoints as large models are released (quant_method "fp8"), read only. Tensors of one module:
//   weight            F8_E4M3 [out, in]
//   weight_scale_inv  F32 or BF16 [ceil(out / rows), ceil(in / columns)]; with no weight_block_size one scale, or one a
//                     row. Multiplied, in spite of its name; some releases call it weight_scale.
// Weights stay mapped and are expanded a few rows at a time. Inputs stay in floats: scales of static inputs
// (input_scale, activation_scale) are ignored.
#include "containers/container.h"
#include "base/fail.h"
#include "containers/compressed_tensors/float_matrix.h"
#include "containers/stored_source.h"

namespace vernier {
namespace {

constexpr std::string_view kWeight = ".weight";

bool recognizes(const Json& config) { return quant_method(config) == "fp8"; }

// The grid of the whole checkpoint; with no blocks, scales per channel or tensor are told by their shapes.
Result<GridSpec> grid_of(const Json& quantization, const std::string& where) {
  GridSpec grid{"fp8", 8, true, -1, DType::f32};
  if (const auto format = quantization.find("fmt"); format != quantization.end() && *format != "e4m3")
    return fail(ErrorCode::unsupported, "{}.fmt: {} is not read here, wanted \"e4m3\"", where, dump_json(*format, -1));
  const auto block = quantization.find("weight_block_size");
  if (block == quantization.end() || block->is_null()) return grid;
  const auto side = [](const Json& json) { return json.is_number_integer() && json > 0 && json <= INT32_MAX; };
  if (!block->is_array() || block->size() != 2 || !side((*block)[0]) || !side((*block)[1]))
    return fail(ErrorCode::invalid, "{}.weight_block_size: wanted [rows, columns], found {}", where,
                dump_json(*block, -1));
  grid.group_rows = (*block)[0].get<std::int64_t>();
  grid.group = (*block)[1].get<std::int64_t>();
  return grid;
}

Result<LogicalTensor> quantized_tensor(const Checkpoint& checkpoint, GridSpec grid, const TensorEntry& weight) {
  const std::string module = weight.name.substr(0, weight.name.size() - kWeight.size());
  const bool inverse = checkpoint.find(module + ".weight_scale_inv") || !checkpoint.find(module + ".weight_scale");
  const std::string_view suffix = inverse ? ".weight_scale_inv" : ".weight_scale";
  if (grid.group == -1) {
    const Checkpoint::Entry* scale = checkpoint.find(module + std::string(suffix));
    if (scale && scale->tensor.shape.elements() > 1) grid.group = 0;
  }
  VN_ASSIGN(const auto tensors, compressed_tensors::find_float_tensors(checkpoint, grid, module, suffix));
  LogicalTensor logical;
  logical.stored = tensors.names;
  std::int64_t bytes = 0;
  for (const std::string& name : tensors.names) bytes += checkpoint.find(name)->tensor.bytes();
  logical.info = {weight.name, weight.shape, tensors.spec.text(), bytes, tensors.spec};
  logical.open = [tensors](const Checkpoint& from) { return compressed_tensors::open_float_matrix(from, tensors); };
  logical.part = [tensors](const Checkpoint& from) { return compressed_tensors::read_float_part(from, tensors); };
  for (const char* input : {".input_scale", ".activation_scale", ".activation_scale_inv"})
    if (checkpoint.find(module + input)) logical.stored.push_back(module + input);
  return logical;
}

Result<std::unique_ptr<ModelSource>> open(std::unique_ptr<Checkpoint> checkpoint) {
  const std::string where = checkpoint->folder() + "/config.json: quantization_config";
  VN_ASSIGN(const GridSpec grid, grid_of(checkpoint->config().at("quantization_config"), where));
  VN_ASSIGN(ModelGraph graph, graph_of(*checkpoint));
  std::vector<LogicalTensor> tensors;
  std::unordered_set<std::string> claimed;
  for (const Checkpoint::Entry& entry : checkpoint->entries()) {
    if (!entry.tensor.name.ends_with(kWeight) || entry.tensor.dtype != DType::f8_e4m3) continue;
    VN_ASSIGN(LogicalTensor tensor, quantized_tensor(*checkpoint, grid, entry.tensor));
    claimed.insert(tensor.stored.begin(), tensor.stored.end());
    tensors.push_back(std::move(tensor));
  }
  if (tensors.empty())
    return with_hint(fail(ErrorCode::mismatch, "{} says fp8, but no weight is stored as F8_E4M3", where),
                     "config.json and the weights must come from one run; drop the key if the weights are floats");
  for (const Checkpoint::Entry& entry : checkpoint->entries())
    if ((entry.tensor.name.ends_with(".weight_scale_inv") || entry.tensor.name.ends_with(".weight_scale")) &&
        !claimed.contains(entry.tensor.name))
      return with_hint(fail(ErrorCode::mismatch, "{}: tensor {} scales a weight that is not stored as F8_E4M3",
                            checkpoint->folder(), entry.tensor.name),
                       "config.json and the weights must come from one run");
  append_plain_tensors(*checkpoint, claimed, tensors);
  return StoredSource::make(std::move(checkpoint), std::move(graph), "fp8", std::move(tensors));
}

}  // namespace

namespace units {
extern const ContainerDescriptor container_fp8;
const ContainerDescriptor container_fp8{
    .name = "fp8",
    .summary = "FP8 checkpoints with scales per block, as large models are released",
    .also_reads = "E4M3 under a scale per block",
    .accepts = nullptr,
    .layout = nullptr,
    .encode = nullptr,
    .config = nullptr,
    .recognizes = recognizes,
    .open = open};
}  // namespace units
}  // namespace vernier
