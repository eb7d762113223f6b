// How integer weights lie in tensors:
//   codes         U8  [rows, ceil(cols * bits / 8)]     dense, LSB first, every row starts on a byte
//   scale         F16 or BF16 [rows, groups]            per tensor: [1, 1]
//   zero          U8  [rows, ceil(groups * bits / 8)]   asymmetric only; packed like codes
//   column_group  I32 [cols]                            only where columns are not grouped in order
#include <algorithm>
#include <array>
#include <cstring>

#include "base/fail.h"
#include "formats/int/grid.h"
#include "formats/packing.h"
#include "formats/soundness.h"
#include "formats/stored_tensors.h"
#include "tensor/convert.h"

namespace vernier {
namespace {

constexpr std::int64_t chunk_columns = 1024;  // codes unpacked at a time, a multiple of 8; fits the L1 cache

std::int64_t group_columns(const GridSpec& spec, std::int64_t cols) { return spec.group > 0 ? spec.group : cols; }
std::int64_t group_count(const GridSpec& spec, std::int64_t cols) {
  return spec.group > 0 ? (cols + spec.group - 1) / spec.group : 1;
}

// Packed tensors whose sizes were checked; the bytes stay with the caller.
struct IntTensors {
  GridSpec spec;
  std::int64_t rows = 0, cols = 0, groups = 0;
  std::span<const std::byte> codes, scale, zero;
  std::vector<std::int32_t> column_group;

  static Result<IntTensors> make(const GridSpec& spec, std::int64_t rows, std::int64_t cols,
                                 std::span<const TensorView> tensors);

  std::int64_t param_rows() const { return spec.group == -1 ? 1 : rows; }
  std::int64_t code_stride() const { return packed_bytes(cols, spec.bits); }
  std::span<const std::byte> code_row(std::int64_t row) const {
    return codes.subspan(row * code_stride(), code_stride());
  }
  // Parameters of one row's groups; `packed` is scratch. All of them are [groups].
  void params(std::int64_t row, std::span<float> scales, std::span<float> zeros, std::span<std::uint8_t> packed) const;
};

Result<IntTensors> IntTensors::make(const GridSpec& spec, std::int64_t rows, std::int64_t cols,
                                    std::span<const TensorView> tensors) {
  VN_ASSIGN(auto grid, IntGrid::make(spec));  // refuses bad specs
  VN_TRY(check_stored_tensors(spec, rows, cols, tensors, int_layout));
  IntTensors result{spec, rows, cols, group_count(spec, cols), tensors[0].bytes, tensors[1].bytes};
  const std::size_t plain = spec.symmetric ? 2 : 3;
  if (!spec.symmetric) result.zero = tensors[2].bytes;
  if (tensors.size() > plain) {
    VN_ASSIGN(result.column_group, read_column_groups(spec, tensors.back(), result.groups));
  }
  return result;
}

void IntTensors::params(std::int64_t row, std::span<float> scales, std::span<float> zeros,
                        std::span<std::uint8_t> packed) const {
  const std::int64_t r = spec.group == -1 ? 0 : row;
  to_float({spec.scale_dtype, Shape{param_rows(), groups}, scale}, r * groups, scales);
  if (spec.symmetric) {
    std::fill(zeros.begin(), zeros.end(), static_cast<float>(1 << (spec.bits - 1)));
    return;
  }
  const std::int64_t stride = packed_bytes(groups, spec.bits);
  unpack_bits(zero.subspan(r * stride, stride), spec.bits, 0, packed);
  std::copy(packed.begin(), packed.end(), zeros.begin());
}

class PackedIntMatrix final : public WeightMatrix, public SoundnessCheck {
 public:
  explicit PackedIntMatrix(IntTensors tensors) : t_(std::move(tensors)) {}

  std::int64_t rows() const override { return t_.rows; }
  std::int64_t cols() const override { return t_.cols; }
  void decode_rows(std::int64_t first, std::int64_t count, float* out) const override;
  std::int64_t stored_bytes() const override {
    return static_cast<std::int64_t>(t_.codes.size() + t_.scale.size() + t_.zero.size() + 4 * t_.column_group.size());
  }
  std::string format_text() const override { return t_.spec.text(); }
  std::optional<Unsound> unsound(std::int64_t first, std::int64_t count, const AllowedCodes& allowed) const override;

 private:
  IntTensors t_;
};

std::optional<Unsound> PackedIntMatrix::unsound(std::int64_t first, std::int64_t count,
                                                const AllowedCodes& allowed) const {
  std::vector<float> scales(t_.groups), zeros(t_.groups);
  std::vector<std::uint8_t> packed(t_.groups), codes(allowed.all() ? 0 : t_.cols);
  for (std::int64_t r = first; r < first + count; ++r) {
    if (r < t_.param_rows()) {
      t_.params(r, scales, zeros, packed);
      if (auto bad = unsound_scale(scales, ScaleRule::not_zero, r)) return bad;
    }
    if (allowed.all()) continue;
    unpack_bits(t_.code_row(r), t_.spec.bits, 0, codes);
    if (auto bad = unsound_code(codes, allowed, r)) return bad;
  }
  return std::nullopt;
}

void PackedIntMatrix::decode_rows(std::int64_t first, std::int64_t count, float* out) const {
  const std::int64_t group = group_columns(t_.spec, t_.cols);
  // A chunk holds whole groups, or lies within one, so that parameters are found by a plain offset.
  const std::int64_t step = group >= t_.cols || group > chunk_columns ? chunk_columns : chunk_columns / group * group;
  std::vector<float> params(2 * t_.groups);
  std::vector<std::uint8_t> packed_zeros(t_.groups);
  const std::span<float> scales(params.data(), t_.groups), zeros(params.data() + t_.groups, t_.groups);
  std::array<std::uint8_t, chunk_columns> codes;
  for (std::int64_t r = first; r < first + count; ++r, out += t_.cols) {
    t_.params(r, scales, zeros, packed_zeros);
    for (std::int64_t c = 0; c < t_.cols;) {
      std::int64_t width = std::min(step, t_.cols - c);
      if (group > chunk_columns) width = std::min(width, group - c % group);
      unpack_bits(t_.code_row(r), t_.spec.bits, c, {codes.data(), static_cast<std::size_t>(width)});
      if (t_.column_group.empty())
        dequantize_groups(codes.data(), width, group, &scales[c / group], &zeros[c / group], out + c);
      else
        dequantize_gather(codes.data(), width, t_.column_group.data() + c, scales.data(), zeros.data(), out + c);
      c += width;
    }
  }
}

}  // namespace

std::vector<StoredTensor> int_layout(const GridSpec& spec, std::int64_t rows, std::int64_t cols, bool column_groups) {
  const std::int64_t groups = group_count(spec, cols), param_rows = spec.group == -1 ? 1 : rows;
  std::vector<StoredTensor> tensors{{"codes", DType::u8, {rows, packed_bytes(cols, spec.bits)}},
                                    {"scale", spec.scale_dtype, {param_rows, groups}}};
  if (!spec.symmetric) tensors.push_back({"zero", DType::u8, {param_rows, packed_bytes(groups, spec.bits)}});
  if (column_groups) tensors.push_back({"column_group", DType::i32, {cols}});
  return tensors;
}

std::vector<Tensor> int_pack(const GridPart& part) {
  const GridSpec& spec = part.grid->spec();
  std::vector<Tensor> tensors;
  for (const StoredTensor& t : int_layout(spec, part.rows, part.cols, !part.group_of_column.empty()))
    tensors.emplace_back(t.dtype, t.shape);
  pack_rows(part.codes, part.cols, spec.bits, packed_bytes(part.cols, spec.bits), tensors[0].bytes());
  const std::size_t count = part.params.size() / int_params;
  std::vector<float> scales(count);
  std::vector<std::uint8_t> zeros(count);
  for (std::size_t i = 0; i < count; ++i) {
    scales[i] = part.params[int_params * i + int_scale];
    zeros[i] = static_cast<std::uint8_t>(part.params[int_params * i + int_zero]);
  }
  from_float(scales, spec.scale_dtype, tensors[1].bytes());
  if (!spec.symmetric)
    pack_rows(zeros, part.groups(), spec.bits, packed_bytes(part.groups(), spec.bits), tensors[2].bytes());
  if (!part.group_of_column.empty())
    std::memcpy(tensors.back().bytes().data(), part.group_of_column.data(), tensors.back().bytes().size());
  return tensors;
}

Result<std::unique_ptr<WeightMatrix>> int_open(const GridSpec& spec, std::int64_t rows, std::int64_t cols,
                                               std::span<const TensorView> tensors) {
  VN_ASSIGN(IntTensors checked, IntTensors::make(spec, rows, cols, tensors));
  return std::unique_ptr<WeightMatrix>(std::make_unique<PackedIntMatrix>(std::move(checked)));
}

Result<GridPart> int_unpack(const GridSpec& spec, std::int64_t rows, std::int64_t cols,
                            std::span<const TensorView> tensors) {
  VN_ASSIGN(IntTensors checked, IntTensors::make(spec, rows, cols, tensors));
  GridPart part{.rows = rows, .cols = cols};
  VN_ASSIGN(part.grid, make_grid(spec));
  part.codes.resize(rows * cols);
  unpack_rows(checked.codes, cols, spec.bits, checked.code_stride(), part.codes);
  const std::int64_t groups = checked.groups;
  std::vector<float> scales(groups), zeros(groups);
  std::vector<std::uint8_t> packed(groups);
  part.params.resize(checked.param_rows() * groups * int_params);
  for (std::int64_t r = 0; r < checked.param_rows(); ++r) {
    checked.params(r, scales, zeros, packed);
    for (std::int64_t g = 0; g < groups; ++g) {
      if (!std::isfinite(scales[g]))
        return fail(ErrorCode::invalid, "{} weight, tensor 'scale': row {}, group {} is not finite", spec.text(), r, g);
      part.params[(r * groups + g) * int_params + int_scale] = scales[g];
      part.params[(r * groups + g) * int_params + int_zero] = zeros[g];
    }
  }
  part.group_of_column = std::move(checked.column_group);
  return part;
}

namespace units {
extern const FormatDescriptor format_int;
const FormatDescriptor format_int{
    .name = "int",
    .summary = "affine integers of 2 to 8 bits, symmetric or asymmetric; per tensor, channel or group",
    .make = IntGrid::make,
    .layout = int_layout,
    .pack = int_pack,
    .open = int_open,
    .unpack = int_unpack,
    .arithmetic = CodeArithmetic::affine,
};
}  // namespace units

}  // namespace vernier
