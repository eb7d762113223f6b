#include "containers/quantized_folder.h"

#include <algorithm>

#include "base/fail.h"
#include "io/files.h"
#include "tensor/convert.h"

namespace vernier::testing {
namespace {

bool is_block_linear(const TensorEntry& entry) {
  return entry.shape.rank() == 2 && entry.name.find(".layers.") != std::string::npos;
}

// Round to nearest under min-max ranges. With column groups, column c belongs to group c mod groups.
GridPart round_to_nearest(const Tensor& values, const WeightPlan& plan) {
  GridPart part{.grid = make_grid(*plan.grid).value(), .rows = plan.shape[0], .cols = plan.shape[1]};
  const Grid& grid = *part.grid;
  const std::int64_t groups = part.groups(), width = grid.group_columns(part.cols);
  const auto group_of = [&](std::int64_t c) { return plan.column_groups ? c % groups : c / width; };
  if (plan.column_groups)
    for (std::int64_t c = 0; c < part.cols; ++c) part.group_of_column.push_back(static_cast<std::int32_t>(group_of(c)));

  const Matrix<const float> w = values.matrix();
  const std::int64_t param_rows = grid.per_tensor() ? 1 : part.rows;
  std::vector<float> low(param_rows * groups), high(param_rows * groups);
  for (std::int64_t r = 0; r < part.rows; ++r) {
    for (std::int64_t c = 0; c < part.cols; ++c) {
      const std::int64_t i = (grid.per_tensor() ? 0 : r) * groups + group_of(c);
      low[i] = std::min(low[i], w(r, c));
      high[i] = std::max(high[i], w(r, c));
    }
  }
  const int count = grid.params_per_group();
  part.params.resize(low.size() * count);
  for (std::size_t i = 0; i < low.size(); ++i)
    grid.params_from_range(low[i], high[i], {part.params.data() + i * count, static_cast<std::size_t>(count)});
  for (std::int64_t r = 0; r < param_rows; ++r)
    grid.settle_row(std::span(part.params).subspan(r * groups * count, groups * count));
  const std::int64_t joint = grid.joint_rows() > 0 ? grid.joint_rows() : part.rows;
  for (std::int64_t r = 0; r < part.rows && joint != 1; r += joint) {
    const std::int64_t rows = std::min(joint, part.rows - r);
    grid.settle_rows(rows, std::span(part.params).subspan(r * groups * count, rows * groups * count));
  }
  part.codes.resize(part.rows * part.cols);
  float decoded;
  for (std::int64_t r = 0; r < part.rows; ++r)
    for (std::int64_t c = 0; c < part.cols; ++c)
      grid.encode({w.row(r) + c, 1}, part.params_of(r, group_of(c)), {&part.codes[r * part.cols + c], 1},
                  {&decoded, 1});
  return part;
}

}  // namespace

OutputPlan plan_folder(const Checkpoint& checkpoint, const QuantizedFolder& options) {
  OutputPlan plan;
  plan.checkpoint = &checkpoint;
  plan.ignored = {"lm_head"};
  plan.recipe_yaml = "solver: rtn\n";
  for (const Checkpoint::Entry& entry : checkpoint.entries()) {
    WeightPlan weight{.name = entry.tensor.name, .shape = entry.tensor.shape, .dtype = entry.tensor.dtype};
    if (is_block_linear(entry.tensor)) {
      weight.grid = options.grid;
      weight.activation = options.activation;
      weight.column_groups = options.column_groups;
    }
    options.choose(weight);
    if (!weight.grid && is_block_linear(entry.tensor))
      plan.ignored.push_back(weight.name.substr(0, weight.name.size() - std::string(".weight").size()));
    plan.weights.push_back(std::move(weight));
  }
  return plan;
}

Result<WrittenFolder> write_folder(const Checkpoint& checkpoint, const QuantizedFolder& options,
                                   const std::string& folder) {
  VN_ASSIGN(const ContainerDescriptor* container, find_container(options.container));
  WrittenFolder written{plan_folder(checkpoint, options), {}};
  VN_TRY(container->accepts(written.plan));
  std::vector<TensorEntry> entries;
  for (const WeightPlan& weight : written.plan.weights)
    for (TensorEntry& entry : container->layout(weight)) entries.push_back(std::move(entry));
  VN_TRY(make_directories(folder));
  VN_ASSIGN(auto writer, SafetensorsWriter::open(folder + "/model.safetensors",
                                                 plan_safetensors(std::move(entries), {{"format", "pt"}})));
  for (const WeightPlan& weight : written.plan.weights) {
    VN_ASSIGN(const TensorView view, checkpoint.view(weight.name));
    if (!weight.grid) {
      VN_TRY(writer->write(weight.name, view.bytes));
      continue;
    }
    VN_ASSIGN(const Tensor values, to_float_tensor(view, weight.name));
    GridPart part = round_to_nearest(values, weight);
    VN_ASSIGN(const std::vector<Tensor> tensors, container->encode(weight, part));
    const std::vector<TensorEntry> wanted = container->layout(weight);
    if (tensors.size() != wanted.size()) return fail(ErrorCode::failed, "{}: layout and encode differ", weight.name);
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      if (tensors[i].dtype() != wanted[i].dtype || tensors[i].shape() != wanted[i].shape)
        return fail(ErrorCode::failed, "{}: layout and encode differ at {}", weight.name, wanted[i].name);
      VN_TRY(writer->write(wanted[i].name, tensors[i].bytes()));
    }
    written.parts.emplace(weight.name, std::move(part));
  }
  VN_TRY(writer->finish());
  VN_ASSIGN(const Json config, container->config(written.plan));
  VN_TRY(write_file_atomic(folder + "/config.json", dump_json(config)));
  for (const std::string& file : companion_files(checkpoint.folder()))
    VN_TRY(copy_file_atomic(checkpoint.folder() + "/" + file, folder + "/" + file));
  return written;
}

}  // namespace vernier::testing
