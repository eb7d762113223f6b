// Vernier's own container: safetensors and a description of every quantized weight. Weights that kernels multiply are
// stored as panels, mapped and used in place; others as their format lays them out, so that it holds anything a recipe
// can produce.
#include <cmath>

#include "base/fail.h"
#include "base/log.h"
#include "containers/container.h"
#include "containers/stored_source.h"
#include "containers/vernier/description.h"
#include "containers/vernier/packing.h"
#include "tensor/convert.h"

namespace vernier::container_vernier {
namespace {

// Tensors of a static input quantizer, after those of the format.
std::vector<StoredTensor> activation_layout(const std::optional<ActivationSpec>& activation) {
  std::vector<StoredTensor> tensors;
  if (activation && !activation->dynamic) {
    tensors.push_back({"input_scale", DType::f32, Shape{1}});
    if (!activation->symmetric) tensors.push_back({"input_zero", DType::f32, Shape{1}});
  }
  return tensors;
}

Result<std::vector<TensorEntry>> entries_of(const WeightPlan& weight) {
  std::vector<StoredTensor> tensors;
  if (const auto panels = panel_spec(weight)) {
    tensors.push_back({"panels", DType::u8, Shape{panel_bytes(*panels)}});
  } else {
    VN_ASSIGN(const FormatDescriptor* format, find_format(weight.grid->format));
    tensors = format->layout(*weight.grid, weight.shape[0], weight.shape[1], weight.column_groups);
  }
  for (StoredTensor& tensor : activation_layout(weight.activation)) tensors.push_back(std::move(tensor));
  std::vector<TensorEntry> entries;
  for (const StoredTensor& tensor : tensors)
    entries.push_back({weight.name + "." + tensor.suffix, tensor.dtype, tensor.shape});
  return entries;
}

Status accepts(const OutputPlan& plan) {
  for (const WeightPlan& weight : plan.weights) {
    if (!weight.grid) continue;
    if (weight.shape.rank() != 2)
      return with_hint(fail(ErrorCode::unsupported, "{} has shape {}; only matrices can be quantized", weight.name,
                            weight.shape.text()),
                       "exclude it with the recipe's ignore list");
    VN_TRY(find_format(weight.grid->format));
  }
  return {};
}

std::vector<TensorEntry> layout(const WeightPlan& weight) {
  if (!weight.grid) return {{weight.name, weight.dtype, weight.shape}};
  return entries_of(weight).value();  // the format is known: accepts() came first
}

Result<std::vector<Tensor>> encode(const WeightPlan& plan, const GridPart& part) {
  if (Shape{part.rows, part.cols} != plan.shape || part.grid->spec() != *plan.grid)
    return fail(ErrorCode::mismatch, "{}: planned as {} {}, solved as {} [{}, {}]", plan.name, plan.shape.text(),
                plan.grid->text(), part.grid->spec().text(), part.rows, part.cols);
  if (plan.column_groups != !part.group_of_column.empty())
    return fail(ErrorCode::mismatch, "{}: planned {} column groups, solved {}", plan.name,
                plan.column_groups ? "with" : "without", plan.column_groups ? "without" : "with");
  std::vector<Tensor> tensors;
  if (const auto panels = panel_spec(plan)) {
    VN_ASSIGN(Tensor packed, pack(*panels, part));
    tensors.push_back(std::move(packed));
  } else {
    VN_ASSIGN(const FormatDescriptor* format, find_format(plan.grid->format));
    tensors = format->pack(part);
  }
  for (const StoredTensor& tensor : activation_layout(plan.activation)) {
    tensors.emplace_back(tensor.dtype, tensor.shape);
    tensors.back().as<float>()[0] = tensor.suffix == "input_scale" ? plan.activation->scale : plan.activation->zero;
  }
  return tensors;
}

Result<Json> config(const OutputPlan& plan) {
  Json config = plan.config();
  config["quantization_config"] = describe(plan);
  return config;
}

bool recognizes(const Json& config) { return quant_method(config) == "vernier"; }

Result<std::vector<TensorView>> views_of(const Checkpoint& checkpoint, const std::vector<std::string>& stored) {
  std::vector<TensorView> views;
  for (const std::string& name : stored) {
    VN_ASSIGN(const TensorView view, checkpoint.view(name));
    views.push_back(view);
  }
  return views;
}

// In place; from a copy where another tool moved the tensor off its alignment.
Result<std::shared_ptr<const kernels::PanelMatrix>> open_panels(const Checkpoint& checkpoint,
                                                                const kernels::PanelSpec& spec,
                                                                const std::string& stored) {
  VN_ASSIGN(const TensorView view, checkpoint.view(stored));
  if (reinterpret_cast<std::uintptr_t>(view.bytes.data()) % tensor_alignment == 0)
    return kernels::PanelMatrix::open(spec, view.bytes, mapping_of(checkpoint, stored));
  log_warn("{}: tensor {} is not aligned to {} bytes and is copied to memory; `vernier pack` writes it aligned",
           checkpoint.folder(), stored, tensor_alignment);
  auto copy = std::make_shared<Tensor>(DType::u8, view.shape);
  std::copy(view.bytes.begin(), view.bytes.end(), copy->bytes().begin());
  return kernels::PanelMatrix::open(spec, copy->bytes(), copy);
}

Result<std::shared_ptr<const WeightMatrix>> open_matrix(const Checkpoint& checkpoint, const WeightPlan& weight,
                                                        const std::vector<std::string>& stored) {
  if (const auto panels = panel_spec(weight)) return open_panels(checkpoint, *panels, stored[0]);
  VN_ASSIGN(const FormatDescriptor* format, find_format(weight.grid->format));
  VN_ASSIGN(const std::vector<TensorView> views, views_of(checkpoint, stored));
  // The matrix, and the files it reads from, as one object.
  struct Held {
    std::vector<std::shared_ptr<const void>> files;
    std::unique_ptr<WeightMatrix> matrix;
  };
  auto held = std::make_shared<Held>();
  for (const std::string& name : stored) held->files.push_back(mapping_of(checkpoint, name));
  VN_ASSIGN(held->matrix, format->open(*weight.grid, weight.shape[0], weight.shape[1], views));
  return std::shared_ptr<const WeightMatrix>(held, held->matrix.get());
}

Result<GridPart> part_of(const Checkpoint& checkpoint, const WeightPlan& weight,
                         const std::vector<std::string>& stored) {
  if (const auto panels = panel_spec(weight)) {
    VN_ASSIGN(const auto matrix, open_panels(checkpoint, *panels, stored[0]));
    return unpack(*matrix, *weight.grid);
  }
  VN_ASSIGN(const FormatDescriptor* format, find_format(weight.grid->format));
  VN_ASSIGN(const std::vector<TensorView> views, views_of(checkpoint, stored));
  return format->unpack(*weight.grid, weight.shape[0], weight.shape[1], views);
}

Status read_static_scale(const Checkpoint& checkpoint, const WeightPlan& weight, ActivationSpec& activation) {
  for (const StoredTensor& tensor : activation_layout(weight.activation)) {
    const std::string name = weight.name + "." + tensor.suffix;
    VN_ASSIGN(const TensorView view, checkpoint.view(name));
    float& value = tensor.suffix == "input_scale" ? activation.scale : activation.zero;
    to_float(view, 0, {&value, 1});
    if (!std::isfinite(value) || (&value == &activation.scale && value <= 0))
      return fail(ErrorCode::invalid, "{}: tensor {} is {}, wanted a finite{} number", checkpoint.folder(), name, value,
                  &value == &activation.scale ? " positive" : "");
  }
  return {};
}

Result<LogicalTensor> quantized_tensor(const Checkpoint& checkpoint, const WeightPlan& weight) {
  VN_ASSIGN(const std::vector<TensorEntry> entries, entries_of(weight));
  LogicalTensor logical;
  logical.info = {weight.name, weight.shape, weight.grid->text(), 0};
  for (const TensorEntry& wanted : entries) {
    VN_TRY(checkpoint.view(wanted.name));  // names the nearest when missing
    const TensorEntry& found = checkpoint.find(wanted.name)->tensor;
    if (found.dtype != wanted.dtype || found.shape != wanted.shape)
      return with_hint(
          fail(ErrorCode::mismatch, "{}: tensor {} is {} {}, but config.json implies {} {}", checkpoint.folder(),
               wanted.name, name(found.dtype), found.shape.text(), name(wanted.dtype), wanted.shape.text()),
          "config.json and the weights must come from one run");
    logical.stored.push_back(wanted.name);
    logical.info.stored_bytes += found.bytes();
  }
  logical.activation = weight.activation;
  if (logical.activation) VN_TRY(read_static_scale(checkpoint, weight, *logical.activation));
  std::vector<std::string> parts(logical.stored.begin(),
                                 logical.stored.end() - activation_layout(weight.activation).size());
  logical.open = [weight, parts](const Checkpoint& from) { return open_matrix(from, weight, parts); };
  logical.info.grid = weight.grid;
  logical.info.column_groups = weight.column_groups;
  logical.part = [weight, parts](const Checkpoint& from) { return part_of(from, weight, parts); };
  return logical;
}

Result<std::unique_ptr<ModelSource>> open(std::unique_ptr<Checkpoint> checkpoint) {
  VN_ASSIGN(const Description description,
            parse_description(checkpoint->config(), checkpoint->folder() + "/config.json"));
  VN_ASSIGN(ModelGraph graph, graph_of(*checkpoint));
  std::vector<LogicalTensor> tensors;
  std::unordered_set<std::string> claimed;
  for (const WeightPlan& weight : description.weights) {
    VN_ASSIGN(LogicalTensor tensor, quantized_tensor(*checkpoint, weight));
    claimed.insert(tensor.stored.begin(), tensor.stored.end());
    tensors.push_back(std::move(tensor));
  }
  append_plain_tensors(*checkpoint, claimed, tensors);
  return StoredSource::make(std::move(checkpoint), std::move(graph), "vernier", std::move(tensors));
}

}  // namespace
}  // namespace vernier::container_vernier

namespace vernier::units {
extern const ContainerDescriptor container_vernier;
const ContainerDescriptor container_vernier{
    .name = "vernier",
    .summary = "anything a recipe can produce: safetensors with a description in config.json",
    .accepts = vernier::container_vernier::accepts,
    .layout = vernier::container_vernier::layout,
    .encode = vernier::container_vernier::encode,
    .config = vernier::container_vernier::config,
    .recognizes = vernier::container_vernier::recognizes,
    .open = vernier::container_vernier::open};
}  // namespace vernier::units
