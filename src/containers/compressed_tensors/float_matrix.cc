#include "containers/compressed_tensors/float_matrix.h"

#include <cmath>

#include "containers/compressed_tensors/finder.h"
#include "containers/stored_source.h"
#include "tensor/convert.h"

namespace vernier::compressed_tensors {
namespace {

// A tensor that all modules of a folder have in their own type: floats, or E8M0 exponents in bytes.
bool is_scale_type(const GridSpec& grid, DType dtype) {
  if (grid.format == "nvfp4") return dtype == DType::f8_e4m3;
  if (grid.format == "mxfp4") return dtype == DType::u8;
  if (dtype == DType::u8) return grid.group == 32 && grid.group_rows == 1;  // the MX formats
  return dtype == DType::f32 || dtype == DType::bf16 || dtype == DType::f16;
}

Result<float> read_divisor(const Checkpoint& checkpoint, Finder& find) {
  VN_ASSIGN(const TensorEntry* entry, find.get(".weight_global_scale", DType::f32));
  if (entry->shape.elements() != 1) return find.wrong(*entry, "one F32");
  VN_ASSIGN(const TensorView view, checkpoint.view(entry->name));
  float divisor = 0;
  to_float(view, 0, {&divisor, 1});
  if (!std::isfinite(divisor) || divisor <= 0)
    return fail(ErrorCode::invalid, "{}: tensor {} is {}, wanted a positive number", checkpoint.folder(), entry->name,
                divisor);
  return divisor;
}

Result<std::shared_ptr<const void>> files_of(const Checkpoint& checkpoint, const FloatTensors& t) {
  auto files = std::make_shared<std::vector<std::shared_ptr<const void>>>();
  for (const std::string& name : t.names) files->push_back(mapping_of(checkpoint, name));
  return std::shared_ptr<const void>(std::move(files));
}

Result<MinifloatTensors> views_of(const Checkpoint& checkpoint, const FloatTensors& t) {
  MinifloatTensors tensors{.spec = t.spec, .rows = t.rows, .cols = t.cols, .divisor = t.divisor};
  VN_ASSIGN(const TensorView codes, checkpoint.view(t.codes_name));
  tensors.codes = codes.bytes;
  VN_ASSIGN(tensors.scale, checkpoint.view(t.scale_name));
  return tensors;
}

}  // namespace

Result<FloatTensors> find_float_tensors(const Checkpoint& checkpoint, const GridSpec& grid, const std::string& module,
                                        std::string_view scale_suffix) {
  Finder find(checkpoint, module);
  FloatTensors t{.spec = grid};
  const bool nibbles = grid.bits == 4;
  VN_ASSIGN(const TensorEntry* codes,
            find.get(nibbles ? ".weight_packed" : ".weight", nibbles ? DType::u8 : DType::f8_e4m3));
  if (codes->shape.rank() != 2 || codes->shape.elements() == 0) return find.wrong(*codes, "a matrix");
  t.codes_name = codes->name;
  t.rows = codes->shape[0];
  t.cols = codes->shape[1] * (nibbles ? 2 : 1);

  VN_ASSIGN(const TensorEntry* scale, find.get(scale_suffix));
  t.scale_name = scale->name;
  const std::int64_t groups = grid.group > 0 ? (t.cols + grid.group - 1) / grid.group : 1;
  const std::int64_t rows = grid.group == -1 ? 1 : (t.rows + grid.group_rows - 1) / grid.group_rows;
  const bool right = grid.group > 0 ? scale->shape == Shape{rows, groups}
                                    : scale->shape.elements() == rows && scale->shape.rank() <= 2;
  if (!is_scale_type(grid, scale->dtype) || !right)
    return find.wrong(*scale, (grid.format == "nvfp4"   ? "F8_E4M3 "
                               : grid.format == "mxfp4" ? "U8 "
                                                        : "floats ") +
                                  Shape{rows, groups}.text());
  if (grid.format == "fp8") t.spec.scale_dtype = scale->dtype == DType::u8 ? DType::f32 : scale->dtype;
  if (grid.format == "nvfp4") {
    VN_ASSIGN(t.divisor, read_divisor(checkpoint, find));
  }
  t.names = std::move(find.names);
  return t;
}

Result<std::shared_ptr<const WeightMatrix>> open_float_matrix(const Checkpoint& checkpoint, const FloatTensors& t) {
  std::int64_t stored_bytes = 0;
  for (const std::string& name : t.names) stored_bytes += checkpoint.find(name)->tensor.bytes();
  VN_ASSIGN(MinifloatTensors tensors, views_of(checkpoint, t));
  VN_ASSIGN(auto files, files_of(checkpoint, t));
  return minifloat_matrix(std::move(tensors), stored_bytes, std::move(files));
}

Result<GridPart> read_float_part(const Checkpoint& checkpoint, const FloatTensors& t) {
  VN_ASSIGN(const MinifloatTensors tensors, views_of(checkpoint, t));
  Result<GridPart> part = minifloat_part(tensors);
  if (part.ok()) return part;
  return fail(part.error().code, "{}: {}: {}", checkpoint.folder(), t.codes_name, part.error().message);
}

}  // namespace vernier::compressed_tensors
