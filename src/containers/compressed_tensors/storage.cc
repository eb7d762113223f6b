#include "containers/compressed_tensors/storage.h"

#include <array>
#include <cstring>

#include "base/fail.h"
#include "containers/compressed_tensors/compressed_tensors.h"
#include "containers/compressed_tensors/words.h"
#include "formats/int/grid.h"
#include "formats/minifloat/grid.h"
#include "formats/packing.h"
#include "tensor/convert.h"

namespace vernier::compressed_tensors {
namespace {

// Scales along a row. A packed per-tensor scale is repeated for every row: vLLM's weight-only kernels know channels and
// groups only, and the values are the same.
std::int64_t scale_rows(const WeightPlan& weight) {
  return weight.grid->group == -1 && storage_of(weight) != Storage::words ? 1 : weight.shape[0];
}
std::int64_t groups_of(const WeightPlan& weight) {
  return weight.grid->group > 0 ? weight.shape[1] / weight.grid->group : 1;
}

// Parameters as they are stored: [scale_rows, groups].
struct StoredParams {
  std::vector<float> scales;
  std::vector<std::uint8_t> zeros;
};

StoredParams stored_params(const WeightPlan& plan, const GridPart& part) {
  const std::int64_t rows = scale_rows(plan), groups = groups_of(plan);
  StoredParams params{std::vector<float>(rows * groups), std::vector<std::uint8_t>(rows * groups)};
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t g = 0; g < groups; ++g) {
      const std::span<const float> found = part.params_of(r, g);
      params.scales[r * groups + g] = found[int_scale];
      params.zeros[r * groups + g] = static_cast<std::uint8_t>(found[int_zero]);
    }
  }
  return params;
}

Shape float_scale_shape(const GridSpec& grid, std::int64_t rows, std::int64_t groups) {
  if (grid.group == -1) return Shape{1};
  return Shape{(rows + grid.group_rows - 1) / grid.group_rows, groups};
}

void encode_words(const WeightPlan& plan, const GridPart& part, std::vector<Tensor>& tensors) {
  const StoredParams params = stored_params(plan, part);
  const int bits = plan.grid->bits;
  pack_rows(part.codes, part.cols, bits, packed_bytes(part.cols, bits, 4), tensors[0].bytes());
  from_float(params.scales, plan.grid->scale_dtype, tensors[1].bytes());
  if (!plan.grid->symmetric) pack_columns(params.zeros, part.rows, part.groups(), bits, tensors[2].bytes());
  const std::array<std::int64_t, 2> shape = {part.rows, part.cols};
  std::memcpy(tensors.back().bytes().data(), shape.data(), sizeof shape);
}

void encode_bytes(const WeightPlan& plan, const GridPart& part, std::vector<Tensor>& tensors) {
  const std::span<std::int8_t> codes = tensors[0].as<std::int8_t>();
  for (std::size_t i = 0; i < part.codes.size(); ++i) codes[i] = static_cast<std::int8_t>(part.codes[i] - 128);
  from_float(stored_params(plan, part).scales, plan.grid->scale_dtype, tensors[1].bytes());
}

void encode_floats(const GridPart& part, std::vector<Tensor>& tensors) {
  store_minifloat_codes(part, tensors[0].bytes());
  store_minifloat_scales(part, tensors[1].dtype(), tensors[1].bytes());
  if (part.grid->spec().format == "nvfp4") tensors[2].as<float>()[0] = part.params[minifloat_divisor];
}

// Static input quantizers come last.
void encode_input(const ActivationSpec& activation, std::vector<Tensor>& tensors) {
  if (activation.dynamic) return;
  if (!activation.symmetric) tensors.back().as<std::int8_t>()[0] = static_cast<std::int8_t>(activation.zero - 128);
  tensors[tensors.size() - (activation.symmetric ? 1 : 2)].as<float>()[0] = activation.scale;
}

}  // namespace

Storage storage_of(const WeightPlan& weight) {
  const std::string& format = weight.grid->format;
  if (format == "fp8") return Storage::floats;
  if (format == "nvfp4") return Storage::nvfp4;
  if (format == "mxfp4") return Storage::mxfp4;
  return weight.activation && !weight.activation->floating ? Storage::bytes : Storage::words;
}

std::string_view format_name(Storage storage) {
  switch (storage) {
    case Storage::words:
      return "pack-quantized";
    case Storage::bytes:
      return "int-quantized";
    case Storage::floats:
      return "float-quantized";
    case Storage::nvfp4:
      return "nvfp4-pack-quantized";
    case Storage::mxfp4:
      return "mxfp4-pack-quantized";
  }
  return {};
}

std::string module_of(const WeightPlan& weight) {
  return weight.name.substr(0, weight.name.size() - kWeightSuffix.size());
}

GridSpec stored_grid(const WeightPlan& weight) {
  GridSpec grid = *weight.grid;
  if (storage_of(weight) == Storage::words && grid.group == -1) grid.group = 0;
  return grid;
}

std::vector<TensorEntry> layout(const WeightPlan& weight) {
  if (!weight.grid) return {{weight.name, weight.dtype, weight.shape}};
  const std::string module = module_of(weight);
  const GridSpec& grid = *weight.grid;
  const std::int64_t rows = weight.shape[0], cols = weight.shape[1], groups = groups_of(weight);
  std::vector<TensorEntry> entries;
  switch (storage_of(weight)) {
    case Storage::words:
      entries.push_back(
          {module + ".weight_packed", DType::i32, Shape{rows, packed_words(cols, grid.bits, Packing::dense)}});
      entries.push_back({module + ".weight_scale", grid.scale_dtype, Shape{rows, groups}});
      if (!grid.symmetric)
        entries.push_back(
            {module + ".weight_zero_point", DType::i32, Shape{packed_words(rows, grid.bits, Packing::dense), groups}});
      entries.push_back({module + ".weight_shape", DType::i64, Shape{2}});
      break;
    case Storage::bytes:
      entries.push_back({weight.name, DType::i8, weight.shape});
      entries.push_back({module + ".weight_scale", grid.scale_dtype, grid.group == -1 ? Shape{1} : Shape{rows, 1}});
      break;
    case Storage::floats:
      entries.push_back({weight.name, DType::f8_e4m3, weight.shape});
      entries.push_back({module + ".weight_scale", grid.scale_dtype, float_scale_shape(grid, rows, groups)});
      break;
    case Storage::nvfp4:
    case Storage::mxfp4:
      entries.push_back({module + ".weight_packed", DType::u8, Shape{rows, cols / 2}});
      entries.push_back({module + ".weight_scale", storage_of(weight) == Storage::nvfp4 ? DType::f8_e4m3 : DType::u8,
                         Shape{rows, groups}});
      if (storage_of(weight) == Storage::nvfp4)
        entries.push_back({module + ".weight_global_scale", DType::f32, Shape{1}});
      break;
  }
  if (weight.activation && !weight.activation->dynamic) {
    entries.push_back({module + ".input_scale", DType::f32, Shape{1}});
    if (!weight.activation->symmetric) entries.push_back({module + ".input_zero_point", DType::i8, Shape{1}});
  }
  return entries;
}

Result<std::vector<Tensor>> encode(const WeightPlan& plan, const GridPart& part) {
  if (Shape{part.rows, part.cols} != plan.shape || part.grid->spec() != *plan.grid || !part.group_of_column.empty())
    return fail(ErrorCode::mismatch, "{}: planned as {} {}, solved as {} [{}, {}]{}", plan.name, plan.shape.text(),
                plan.grid->text(), part.grid->spec().text(), part.rows, part.cols,
                part.group_of_column.empty() ? "" : " with column groups");
  std::vector<Tensor> tensors;
  for (const TensorEntry& entry : layout(plan)) tensors.emplace_back(entry.dtype, entry.shape);
  switch (storage_of(plan)) {
    case Storage::words:
      encode_words(plan, part, tensors);
      break;
    case Storage::bytes:
      encode_bytes(plan, part, tensors);
      break;
    default:
      encode_floats(part, tensors);
  }
  if (plan.activation) encode_input(*plan.activation, tensors);
  return tensors;
}

}  // namespace vernier::compressed_tensors
