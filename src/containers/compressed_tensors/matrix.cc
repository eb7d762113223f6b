#include "containers/compressed_tensors/matrix.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/fail.h"
#include "containers/compressed_tensors/finder.h"
#include "containers/stored_source.h"
#include "formats/int/grid.h"
#include "formats/soundness.h"
#include "tensor/convert.h"

namespace vernier::compressed_tensors {
namespace {

// Dense words unless only the padded width fits; where both do, current releases wrote them dense.
std::optional<Packing> packing_of(std::int64_t words, std::int64_t count, int bits) {
  if (words == packed_words(count, bits, Packing::dense)) return Packing::dense;
  if (words == packed_words(count, bits, Packing::padded)) return Packing::padded;
  return std::nullopt;
}

// [rows, cols] of the weight, from weight_shape or the shape of its I8 codes.
Status find_codes(const Checkpoint& checkpoint, Finder& find, ModuleTensors& t) {
  t.words = find.has(".weight_packed");
  t.codes_name = find.full(t.words ? ".weight_packed" : ".weight");
  VN_ASSIGN(const TensorEntry* codes,
            find.get(t.words ? ".weight_packed" : ".weight", t.words ? DType::i32 : DType::i8));
  if (codes->shape.rank() != 2) return find.wrong(*codes, "a matrix");
  t.rows = codes->shape[0];
  t.cols = codes->shape[1];
  if (!t.words) return {};

  VN_ASSIGN(const TensorEntry* shape, find.get(".weight_shape", DType::i64));
  if (shape->shape != Shape{2}) return find.wrong(*shape, "I64 [2]");
  VN_ASSIGN(const TensorView view, checkpoint.view(shape->name));
  std::array<std::int64_t, 2> dims;
  std::memcpy(dims.data(), view.bytes.data(), sizeof dims);
  // Bounded before it is multiplied: a row holds at most 16 codes a word.
  if (dims[0] != t.rows || dims[1] <= 0 || dims[1] > codes->shape[1] * 16)
    return find.wrong(*codes, fmt::format("the packed form of {} [{}, {}]", shape->name, dims[0], dims[1]));
  t.cols = dims[1];
  const std::optional<Packing> packing = packing_of(codes->shape[1], t.cols, t.bits);
  if (!packing)
    return find.wrong(*codes, Shape{t.rows, packed_words(t.cols, t.bits, Packing::dense)}.text() +
                                  fmt::format(" for {} codes of {} bits a row", t.cols, t.bits));
  t.packing = *packing;
  return {};
}

Status find_scales(Finder& find, ModuleTensors& t) {
  t.groups = t.group > 0 ? (t.cols + t.group - 1) / t.group : 1;
  t.scale_name = find.full(".weight_scale");
  VN_ASSIGN(const TensorEntry* scale, find.get(".weight_scale"));
  const bool right = t.group > 0 ? scale->shape == Shape{t.rows, t.groups}
                                 : scale->shape.elements() == t.scale_rows() && scale->shape.rank() <= 2;
  if (!is_float(scale->dtype) || size_bytes(scale->dtype) == 1 || !right)
    return find.wrong(*scale, "floats " + Shape{t.scale_rows(), t.groups}.text());
  t.scale_dtype = scale->dtype;
  if (t.symmetric) {
    if (find.has(".weight_zero_point")) VN_TRY(find.get(".weight_zero_point"));  // older releases: zeros, not needed
    return {};
  }

  t.zero_name = find.full(".weight_zero_point");
  VN_ASSIGN(const TensorEntry* zero, find.get(".weight_zero_point"));
  if (!t.words || t.group == -1) {
    t.zeros = ModuleTensors::Zeros::bytes;
    if (zero->dtype != DType::i8 || zero->shape.elements() != scale->shape.elements())
      return find.wrong(*zero, "I8 " + scale->shape.text());
    return {};
  }
  t.zeros = ModuleTensors::Zeros::packed;
  const std::optional<Packing> packing =
      zero->shape.rank() == 2 && zero->shape[1] == t.groups ? packing_of(zero->shape[0], t.rows, t.bits) : std::nullopt;
  if (zero->dtype != DType::i32 || !packing)
    return find.wrong(*zero, "I32 " + Shape{packed_words(t.rows, t.bits, Packing::dense), t.groups}.text());
  t.zero_packing = *packing;
  return {};
}

class StoredMatrix final : public WeightMatrix, public SoundnessCheck {
 public:
  StoredMatrix(ModuleTensors tensors, std::int64_t stored_bytes)
      : t_(std::move(tensors)), stored_bytes_(stored_bytes) {}

  std::int64_t rows() const override { return t_.rows; }
  std::int64_t cols() const override { return t_.cols; }
  std::int64_t stored_bytes() const override { return stored_bytes_; }
  std::string format_text() const override { return t_.grid().text(); }
  void decode_rows(std::int64_t first, std::int64_t count, float* out) const override;
  std::optional<Unsound> unsound(std::int64_t first, std::int64_t count, const AllowedCodes& allowed) const override;
  Result<GridPart> part() const;

  TensorView codes, scale, zero;           // zero: empty when symmetric
  std::vector<std::int32_t> column_group;  // [cols], or empty
  std::vector<std::shared_ptr<const void>> keep_alive;

 private:
  void read_codes(std::int64_t row, std::span<std::uint8_t> out) const;
  void read_params(std::int64_t row, std::span<float> scales, std::span<float> zeros,
                   std::span<std::uint8_t> packed) const;

  ModuleTensors t_;
  std::int64_t stored_bytes_;
};

void StoredMatrix::read_codes(std::int64_t row, std::span<std::uint8_t> out) const {
  const std::size_t stride = codes.bytes.size() / t_.rows;
  const std::span<const std::byte> stored = codes.bytes.subspan(row * stride, stride);
  if (t_.words) return unpack_words(stored, t_.bits, t_.packing, out);
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<std::uint8_t>(stored[i]) ^ 0x80;  // signed + 128
}

void StoredMatrix::read_params(std::int64_t row, std::span<float> scales, std::span<float> zeros,
                               std::span<std::uint8_t> packed) const {
  const std::int64_t first = t_.group == -1 ? 0 : row * t_.groups;
  to_float(scale, first, scales);
  const float half = t_.words ? static_cast<float>(1 << (t_.bits - 1)) : 128.0f;
  switch (t_.zeros) {
    case ModuleTensors::Zeros::none:
      std::fill(zeros.begin(), zeros.end(), half);
      break;
    case ModuleTensors::Zeros::bytes:
      for (std::size_t g = 0; g < zeros.size(); ++g)
        zeros[g] = half + static_cast<float>(static_cast<std::int8_t>(zero.bytes[first + g]));
      break;
    case ModuleTensors::Zeros::packed:
      unpack_columns_row(zero.bytes, row, t_.bits, t_.zero_packing, packed);
      std::copy(packed.begin(), packed.end(), zeros.begin());
      break;
  }
}

void StoredMatrix::decode_rows(std::int64_t first, std::int64_t count, float* out) const {
  std::vector<std::uint8_t> row_codes(t_.cols), packed(t_.groups);
  std::vector<float> scales(t_.groups), zeros(t_.groups);
  for (std::int64_t r = first; r < first + count; ++r, out += t_.cols) {
    read_codes(r, row_codes);
    read_params(r, scales, zeros, packed);
    if (column_group.empty())
      dequantize_groups(row_codes.data(), t_.cols, t_.group > 0 ? t_.group : t_.cols, scales.data(), zeros.data(), out);
    else
      dequantize_gather(row_codes.data(), t_.cols, column_group.data(), scales.data(), zeros.data(), out);
  }
}

std::optional<Unsound> StoredMatrix::unsound(std::int64_t first, std::int64_t count,
                                             const AllowedCodes& allowed) const {
  const auto levels = static_cast<float>((1 << t_.bits) - 1);
  std::vector<std::uint8_t> codes(allowed.all() ? 0 : t_.cols), packed(t_.groups);
  std::vector<float> scales(t_.groups), zeros(t_.groups);
  for (std::int64_t r = first; r < first + count; ++r) {
    if (r < t_.scale_rows()) {
      read_params(r, scales, zeros, packed);
      if (auto bad = unsound_scale(scales, ScaleRule::not_zero, r)) return bad;
      for (std::int64_t g = 0; g < t_.groups; ++g)
        if (zeros[g] < 0 || zeros[g] > levels)
          return Unsound{fmt::format("zero point of row {}, group {}", r, g), fmt::format("0 to {}", levels),
                         fmt::format("{}", zeros[g])};
    }
    if (allowed.all()) continue;
    read_codes(r, codes);
    if (auto bad = unsound_code(codes, allowed, r)) return bad;
  }
  return std::nullopt;
}

Result<GridPart> StoredMatrix::part() const {
  GridPart part{.rows = t_.rows, .cols = t_.cols, .group_of_column = column_group};
  VN_ASSIGN(part.grid, make_grid(t_.grid()));
  part.codes.resize(t_.rows * t_.cols);
  part.params.resize(t_.scale_rows() * t_.groups * int_params);
  std::vector<std::uint8_t> packed(t_.groups);
  std::vector<float> scales(t_.groups), zeros(t_.groups);
  for (std::int64_t r = 0; r < t_.rows; ++r) {
    read_codes(r, {part.codes.data() + r * t_.cols, static_cast<std::size_t>(t_.cols)});
    if (r >= t_.scale_rows()) continue;
    read_params(r, scales, zeros, packed);
    for (std::int64_t g = 0; g < t_.groups; ++g) {
      part.params[(r * t_.groups + g) * int_params + int_scale] = scales[g];
      part.params[(r * t_.groups + g) * int_params + int_zero] = zeros[g];
    }
  }
  return part;
}

// The stored order of groups; empty when it is the trivial one (older releases fill with -1 where none was used).
Result<std::vector<std::int32_t>> read_column_groups(const Checkpoint& checkpoint, const ModuleTensors& t) {
  if (t.column_group_name.empty()) return std::vector<std::int32_t>();
  VN_ASSIGN(const TensorView view, checkpoint.view(t.column_group_name));
  std::vector<std::int32_t> groups(t.cols);
  std::memcpy(groups.data(), view.bytes.data(), view.bytes.size());
  if (std::all_of(groups.begin(), groups.end(), [](std::int32_t g) { return g == -1; }))
    return std::vector<std::int32_t>();
  for (std::int64_t c = 0; c < t.cols; ++c)
    if (groups[c] < 0 || groups[c] >= t.groups)
      return fail(ErrorCode::invalid, "{}: tensor {} puts column {} into group {} of {}", checkpoint.folder(),
                  t.column_group_name, c, groups[c], t.groups);
  return groups;
}

}  // namespace

Result<ModuleTensors> find_tensors(const Checkpoint& checkpoint, const Group& group, const std::string& module) {
  ModuleTensors t;
  t.bits = group.grid.bits;
  t.symmetric = group.grid.symmetric;
  t.group = group.grid.group;
  Finder find(checkpoint, module);
  VN_TRY(find_codes(checkpoint, find, t));
  VN_TRY(find_scales(find, t));
  if (find.has(".weight_g_idx")) {
    VN_ASSIGN(const TensorEntry* order, find.get(".weight_g_idx", DType::i32));
    if (order->shape != Shape{t.cols}) return find.wrong(*order, "I32 " + Shape{t.cols}.text());
    t.column_group_name = order->name;
    VN_ASSIGN(const auto groups, read_column_groups(checkpoint, t));
    if (groups.empty()) t.column_group_name.clear();
  }
  t.names = std::move(find.names);
  return t;
}

namespace {

Result<std::shared_ptr<const StoredMatrix>> open_stored(const Checkpoint& checkpoint, const ModuleTensors& tensors) {
  std::int64_t stored_bytes = 0;
  for (const std::string& name : tensors.names) stored_bytes += checkpoint.find(name)->tensor.bytes();
  auto matrix = std::make_shared<StoredMatrix>(tensors, stored_bytes);
  VN_ASSIGN(matrix->codes, checkpoint.view(tensors.codes_name));
  VN_ASSIGN(matrix->scale, checkpoint.view(tensors.scale_name));
  if (!tensors.zero_name.empty()) {
    VN_ASSIGN(matrix->zero, checkpoint.view(tensors.zero_name));
  }
  VN_ASSIGN(matrix->column_group, read_column_groups(checkpoint, tensors));
  for (const std::string& name : tensors.names) matrix->keep_alive.push_back(mapping_of(checkpoint, name));
  return std::shared_ptr<const StoredMatrix>(std::move(matrix));
}

}  // namespace

Result<std::shared_ptr<const WeightMatrix>> open_matrix(const Checkpoint& checkpoint, const ModuleTensors& tensors) {
  return open_stored(checkpoint, tensors);
}

Result<GridPart> read_part(const Checkpoint& checkpoint, const ModuleTensors& tensors) {
  VN_ASSIGN(const auto matrix, open_stored(checkpoint, tensors));
  return matrix->part();
}

}  // namespace vernier::compressed_tensors
