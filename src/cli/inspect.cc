// vernier inspect: what a model folder holds, and how its values are spread.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "base/fail.h"
#include "base/interrupt.h"
#include "base/memory.h"
#include "cli/output.h"
#include "cli/table.h"
#include "cli/tensor_stats.h"
#include "containers/container.h"
#include "io/checkpoint.h"
#include "io/files.h"
#include "tensor/convert.h"

namespace vernier {
namespace {

constexpr int histogram_bins = 21;
constexpr std::int64_t range_group = 128;

struct InspectCommand {
  CommonOptions common;
  std::string model, tensor;
  bool no_stats = false;
};

// A model that some container opens, or, where no architecture describes it, the bare checkpoint.
struct Inspected {
  std::unique_ptr<ModelSource> source;
  std::unique_ptr<Checkpoint> checkpoint;
  std::vector<SourceTensor> tensors;
};

Result<Inspected> open_inspected(const std::string& folder) {
  Inspected model;
  VN_ASSIGN(model.checkpoint, Checkpoint::open(folder));
  auto source = open_model(folder);
  if (source.ok()) {
    model.source = std::move(source).value();
    model.tensors = model.source->tensors();
    return model;
  }
  if (source.error().code != ErrorCode::unsupported) return std::move(source).take_error();
  for (const Checkpoint::Entry& entry : model.checkpoint->entries()) {
    const TensorEntry& tensor = entry.tensor;
    model.tensors.push_back({tensor.name, tensor.shape, std::string(name(tensor.dtype)), tensor.bytes()});
  }
  return model;
}

Result<TensorRows> rows_of_view(const TensorView& view, const std::string& name) {
  if (!is_float(view.dtype)) return fail(ErrorCode::unsupported, "{} holds {} values", name, vernier::name(view.dtype));
  const std::int64_t rows = view.shape.rank() > 1 ? view.shape[0] : 1;
  const std::int64_t cols = rows == 0 ? 0 : view.shape.elements() / rows;
  return TensorRows{rows, cols, [view, cols](std::int64_t first, std::int64_t count, float* out) {
                      to_float(view, first * cols, {out, static_cast<std::size_t>(count * cols)});
                    }};
}

Result<TensorRows> rows_of(const Inspected& model, const SourceTensor& tensor) {
  if (!model.source || model.checkpoint->find(tensor.name)) {
    VN_ASSIGN(const TensorView view, model.checkpoint->view(tensor.name));
    return rows_of_view(view, tensor.name);
  }
  if (tensor.shape.rank() == 1) {
    VN_ASSIGN(Tensor vector, model.source->vector(tensor.name));
    const auto values = std::make_shared<const Tensor>(std::move(vector));
    return TensorRows{1, tensor.shape[0], [values](std::int64_t, std::int64_t, float* out) {
                        const auto floats = values->as<float>();
                        std::copy(floats.begin(), floats.end(), out);
                      }};
  }
  VN_ASSIGN(const auto matrix, model.source->matrix(tensor.name));
  return TensorRows{matrix->rows(), matrix->cols(), [matrix](std::int64_t first, std::int64_t count, float* out) {
                      matrix->decode_rows(first, count, out);
                    }};
}

void release(const Inspected& model) {
  model.checkpoint->release_all();
  if (!model.source) return;
  for (const Graph* graph : model.source->graph().graphs()) model.source->release(*graph);
}

double bits_of(const SourceTensor& tensor) {
  const std::int64_t elements = tensor.shape.elements();
  return elements == 0 ? 0 : 8.0 * static_cast<double>(tensor.stored_bytes) / static_cast<double>(elements);
}

Json tensor_json(const SourceTensor& tensor) {
  Json json;
  json["name"] = tensor.name;
  json["shape"] = tensor.shape.dims();
  json["format"] = tensor.format;
  json["bits"] = bits_of(tensor);
  json["stored_bytes"] = tensor.stored_bytes;
  return json;
}

void add_stats(Json& json, const TensorStats& stats) {
  json["min"] = stats.min;
  json["max"] = stats.max;
  json["absmax"] = stats.absmax;
  json["mean"] = stats.mean;
  json["rms"] = stats.rms;
  json["kurtosis"] = stats.kurtosis;
  json["outliers"] = stats.outliers;
  if (stats.nonfinite > 0) json["nonfinite"] = stats.nonfinite;
}

// Every tensor, with statistics unless they were declined. Values that have none (integers) say why.
Result<Json> inspect_model(const Inspected& model, const InspectCommand& command) {
  Json json;
  json["model"] = command.model;
  json["container"] = model.source ? model.source->container() : "safetensors, architecture not known";
  if (model.source) json["architecture"] = model.source->graph().architecture;
  std::int64_t elements = 0, bytes = 0;
  Json list = Json::array();
  for (const SourceTensor& tensor : model.tensors) {
    VN_TRY(check_interrupt());
    Json row = tensor_json(tensor);
    if (!command.no_stats) {
      auto rows = rows_of(model, tensor);
      if (rows.ok())
        add_stats(row, tensor_stats(*rows));
      else
        row["stats"] = rows.error().message;
      release(model);
    }
    elements += tensor.shape.elements();
    bytes += tensor.stored_bytes;
    list.push_back(std::move(row));
  }
  json["parameters"] = elements;
  json["stored_bytes"] = bytes;
  json["tensors"] = std::move(list);
  return json;
}

// What the files hold for this tensor: itself, or the packed codes and parameters under its module's name.
Json stored_parts(const Inspected& model, const std::string& tensor) {
  const std::string module = tensor.ends_with(".weight") ? tensor.substr(0, tensor.size() - 7) : tensor;
  Json list = Json::array();
  for (const Checkpoint::Entry& entry : model.checkpoint->entries()) {
    const TensorEntry& part = entry.tensor;
    if (part.name != tensor && part.name != module && !part.name.starts_with(module + ".")) continue;
    Json json;
    json["name"] = part.name;
    json["dtype"] = name(part.dtype);
    json["shape"] = part.shape.dims();
    if (part.name.find("scale") != std::string::npos) {
      const auto view = model.checkpoint->view(part.name);
      const auto rows = view.ok() ? rows_of_view(*view, part.name) : Result<TensorRows>(view.error());
      if (rows.ok()) {
        const TensorStats stats = tensor_stats(*rows);
        json["min"] = stats.min;
        json["mean"] = stats.mean;
        json["max"] = stats.max;
      }
    }
    list.push_back(std::move(json));
  }
  return list;
}

Result<Json> inspect_tensor(const Inspected& model, const InspectCommand& command) {
  const auto found = std::find_if(model.tensors.begin(), model.tensors.end(),
                                  [&](const SourceTensor& tensor) { return tensor.name == command.tensor; });
  if (found == model.tensors.end()) {
    std::vector<std::string> names;
    for (const SourceTensor& tensor : model.tensors) names.push_back(tensor.name);
    const std::string near = nearest(command.tensor, names);
    return with_hint(fail(ErrorCode::not_found, "{} has no tensor \"{}\"", command.model, command.tensor),
                     near.empty() ? "vernier inspect MODEL lists them" : fmt::format("did you mean \"{}\"?", near));
  }
  VN_ASSIGN(const TensorRows rows, rows_of(model, *found));
  const TensorStats stats = tensor_stats(rows);
  Json json = tensor_json(*found);
  add_stats(json, stats);
  const GroupRanges ranges = group_ranges(rows, std::min(range_group, std::max<std::int64_t>(1, rows.cols)));
  json["group_absmax"]["group"] = range_group;
  json["group_absmax"]["groups"] = ranges.groups;
  json["group_absmax"]["min"] = ranges.min;
  json["group_absmax"]["median"] = ranges.median;
  json["group_absmax"]["max"] = ranges.max;
  const Histogram bins = histogram(rows, stats, histogram_bins);
  json["histogram"]["low"] = bins.low;
  json["histogram"]["high"] = bins.high;
  json["histogram"]["counts"] = bins.counts;
  json["stored"] = stored_parts(model, command.tensor);
  return json;
}

std::string number(const Json& row, const char* key) {
  if (!row.contains(key)) return "";
  const Json& value = row[key];
  return value.is_number_float() ? fmt::format("{:.4g}", value.get<double>()) : value.dump();
}

std::string shape_text(const Json& shape) { return Shape(shape.get<std::vector<std::int64_t>>()).text(); }

void print_model(const Json& json, bool stats) {
  std::vector<Table::Column> columns{{"tensor", Table::Align::left, true},
                                     {"shape"},
                                     {"format"},
                                     {"bits", Table::Align::right},
                                     {"stored", Table::Align::right}};
  if (stats) {
    for (const char* title : {"absmax", "rms", "kurtosis", "outliers"}) columns.push_back({title, Table::Align::right});
  }
  Table table(columns);
  std::vector<std::string> nonfinite;
  for (const Json& row : json["tensors"]) {
    std::vector<std::string> cells{row["name"], shape_text(row["shape"]), row["format"], number(row, "bits"),
                                   format_bytes(row["stored_bytes"].get<std::int64_t>())};
    if (stats) {
      for (const char* key : {"absmax", "rms", "kurtosis", "outliers"}) cells.push_back(number(row, key));
    }
    if (row.contains("nonfinite")) nonfinite.push_back(row["name"]);
    table.add(cells);
  }
  print_table(table);
  fmt::print("\n{} tensors, {} parameters, {} ({})\n", json["tensors"].size(), json["parameters"].get<std::int64_t>(),
             format_bytes(json["stored_bytes"].get<std::int64_t>()), json["container"].get<std::string>());
  for (const std::string& name : nonfinite) fmt::print("not finite: {}\n", name);
}

void print_tensor(const Json& json) {
  Table table({{"figure"}, {"value"}});
  for (const char* key : {"name", "format"}) table.add({key, json[key].get<std::string>()});
  table.add({"shape", shape_text(json["shape"])});
  for (const char* key : {"bits", "min", "max", "absmax", "mean", "rms", "kurtosis", "outliers", "nonfinite"}) {
    if (json.contains(key)) table.add({key, number(json, key)});
  }
  const Json& ranges = json["group_absmax"];
  table.add(
      {fmt::format("absmax per group of {}", ranges["group"].get<std::int64_t>()),
       fmt::format("{} .. {} (median {})", number(ranges, "min"), number(ranges, "max"), number(ranges, "median"))});
  for (const Json& part : json["stored"]) {
    std::string text = fmt::format("{} {}", part["dtype"].get<std::string>(), shape_text(part["shape"]));
    if (part.contains("min"))
      text += fmt::format(", {} .. {} (mean {})", number(part, "min"), number(part, "max"), number(part, "mean"));
    table.add({"stored " + part["name"].get<std::string>(), text});
  }
  print_table(table);

  const Json& bins = json["histogram"];
  const auto counts = bins["counts"].get<std::vector<std::int64_t>>();
  const std::int64_t most = std::max<std::int64_t>(1, *std::max_element(counts.begin(), counts.end()));
  const double low = bins["low"].get<double>(), width = (bins["high"].get<double>() - low) / histogram_bins;
  constexpr std::int64_t bar = 40;
  fmt::print("\n");
  Table drawing({{"from", Table::Align::right}, {"values", Table::Align::right}, {""}});
  for (std::size_t i = 0; i < counts.size(); ++i) {
    drawing.add({fmt::format("{:.4g}", low + width * static_cast<double>(i)), fmt::format("{}", counts[i]),
                 std::string((counts[i] * bar + most - 1) / most, '#')});
  }
  print_table(drawing);
}

int run_inspect(const InspectCommand& command) {
  command.common.apply();
  auto model = open_inspected(command.model);
  if (!model.ok()) return report(model.error());
  const bool whole = command.tensor.empty();
  auto json = whole ? inspect_model(*model, command) : inspect_tensor(*model, command);
  if (!json.ok()) return report(json.error());
  if (command.common.json)
    print_json(*json);
  else if (whole)
    print_model(*json, !command.no_stats);
  else
    print_tensor(*json);
  return exit_ok;
}

std::function<int()> setup(CLI::App& app) {
  auto command = std::make_shared<InspectCommand>();
  app.add_option("MODEL", command->model, "model folder, of any container, or a .gguf file")->required();
  app.add_option("TENSOR", command->tensor, "one tensor in detail, by its logical name");
  app.add_flag("--no-stats", command->no_stats, "shapes, formats and sizes only: no values are read");
  add_common_options(app, command->common);
  app.footer(R"(Outliers lie further than 6 deviations from the mean; a normal distribution has kurtosis 3.

Examples:
  vernier inspect models/books-6m
  vernier inspect OUT model.layers.0.mlp.down_proj.weight)");
  return [command] { return run_inspect(*command); };
}

}  // namespace

namespace units {
extern const CommandDescriptor command_inspect;
const CommandDescriptor command_inspect = {"inspect", "Tensors of a model: shapes, formats, ranges, outliers", setup};
}  // namespace units
}  // namespace vernier
