// How weights of small floats lie in tensors:
//   codes         U8  [rows, ceil(cols * bits / 8)]           4 bits: the even column in the low nibble
//   scale         [ceil(rows / group_rows), groups]           fp8: F16, BF16 or F32; nvfp4: E4M3; per tensor: [1, 1]
//   divisor       F32 [1]                                     nvfp4
//   column_group  I32 [cols]                                  only where columns are not grouped in order
#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/fail.h"
#include "formats/gguf/block_type.h"
#include "formats/minifloat/codec.h"
#include "formats/minifloat/grid.h"
#include "formats/packing.h"
#include "formats/soundness.h"
#include "formats/stored_tensors.h"
#include "tensor/convert.h"

namespace vernier {
namespace {

std::int64_t scale_rows(const GridSpec& spec, std::int64_t rows) {
  return spec.group == -1 ? 1 : (rows + spec.group_rows - 1) / spec.group_rows;
}

// Scales [first, first + out.size()) as floats.
void read_scales(const TensorView& scale, std::int64_t first, std::span<float> out) {
  if (scale.dtype != DType::f8_e4m3 && scale.dtype != DType::u8) return to_float(scale, first, out);
  for (std::size_t i = 0; i < out.size(); ++i) {
    const auto code = std::to_integer<std::uint8_t>(scale.bytes[first + i]);
    out[i] = scale.dtype == DType::u8 ? e8m0_value(code) : E4M3::values[code];
  }
}

// Reads rows of MinifloatTensors.
class RowReader {
 public:
  explicit RowReader(const MinifloatTensors& t) : t_(t), scales_(t.groups()) {}

  void codes(std::int64_t row, std::span<std::uint8_t> out) const {
    const std::int64_t stride = packed_bytes(t_.cols, t_.spec.bits);
    unpack_bits(t_.codes.subspan(row * stride, stride), t_.spec.bits, 0, out);
  }
  // As they are stored, the divisor left out.
  std::span<const float> scales(std::int64_t row) {
    const std::int64_t groups = t_.groups(), first = t_.spec.group == -1 ? 0 : row / t_.spec.group_rows * groups;
    read_scales(t_.scale, first, scales_);
    return scales_;
  }

 private:
  const MinifloatTensors& t_;
  std::vector<float> scales_;
};

class MinifloatMatrix final : public WeightMatrix, public SoundnessCheck {
 public:
  MinifloatMatrix(MinifloatTensors tensors, std::int64_t stored_bytes, std::shared_ptr<const void> keep_alive)
      : t_(std::move(tensors)), stored_bytes_(stored_bytes), keep_alive_(std::move(keep_alive)) {}

  std::int64_t rows() const override { return t_.rows; }
  std::int64_t cols() const override { return t_.cols; }
  std::int64_t stored_bytes() const override { return stored_bytes_; }
  std::string format_text() const override { return t_.spec.text(); }
  void decode_rows(std::int64_t first, std::int64_t count, float* out) const override;
  std::optional<Unsound> unsound(std::int64_t first, std::int64_t count, const AllowedCodes& allowed) const override;

 private:
  MinifloatTensors t_;
  std::int64_t stored_bytes_;
  std::shared_ptr<const void> keep_alive_;
};

std::optional<Unsound> MinifloatMatrix::unsound(std::int64_t first, std::int64_t count,
                                                const AllowedCodes& allowed) const {
  // Small blocks have E4M3 scales of 0.
  const ScaleRule rule = t_.scale.dtype == DType::f8_e4m3 ? ScaleRule::not_negative : ScaleRule::positive;
  std::vector<std::uint8_t> codes(allowed.all() ? 0 : t_.cols);
  RowReader reader(t_);
  for (std::int64_t r = first; r < first + count; ++r) {
    if (auto bad = unsound_scale(reader.scales(r), rule, r)) return bad;
    if (allowed.all()) continue;
    reader.codes(r, codes);
    if (auto bad = unsound_code(codes, allowed, r)) return bad;
  }
  return std::nullopt;
}

void MinifloatMatrix::decode_rows(std::int64_t first, std::int64_t count, float* out) const {
  const float* const table = t_.spec.bits == 4 ? E2M1::values.data() : E4M3::values.data();
  const std::int64_t group = t_.spec.group > 0 ? t_.spec.group : t_.cols;
  std::vector<std::uint8_t> codes(t_.cols);
  std::vector<float> steps(t_.groups());
  RowReader reader(t_);
  for (std::int64_t r = first; r < first + count; ++r, out += t_.cols) {
    reader.codes(r, codes);
    const std::span<const float> scales = reader.scales(r);
    for (std::size_t g = 0; g < steps.size(); ++g) steps[g] = scales[g] / t_.divisor;
    if (t_.column_group.empty()) {
      for (std::int64_t c = 0, g = 0; c < t_.cols; ++g)
        for (const std::int64_t end = std::min(c + group, t_.cols); c < end; ++c) out[c] = table[codes[c]] * steps[g];
    } else {
      for (std::int64_t c = 0; c < t_.cols; ++c) out[c] = table[codes[c]] * steps[t_.column_group[c]];
    }
  }
}

Result<MinifloatTensors> checked(const GridSpec& spec, std::int64_t rows, std::int64_t cols,
                                 std::span<const TensorView> tensors) {
  VN_ASSIGN(const auto grid, MinifloatGrid::make(spec));  // refuses bad specs
  VN_TRY(check_stored_tensors(spec, rows, cols, tensors, minifloat_layout));
  MinifloatTensors t{spec, rows, cols, tensors[0].bytes, tensors[1]};
  std::size_t plain = 2;
  if (spec.bits == 4) to_float(tensors[plain++], 0, {&t.divisor, 1});
  if (!std::isfinite(t.divisor) || t.divisor <= 0)
    return fail(ErrorCode::invalid, "{} weight, tensor 'divisor': {}, wanted a positive number", spec.text(),
                t.divisor);
  if (tensors.size() > plain) {
    VN_ASSIGN(t.column_group, read_column_groups(spec, tensors.back(), t.groups()));
  }
  return t;
}

std::vector<Tensor> pack(const GridPart& part) {
  const GridSpec& spec = part.grid->spec();
  std::vector<Tensor> tensors;
  for (const StoredTensor& t : minifloat_layout(spec, part.rows, part.cols, !part.group_of_column.empty()))
    tensors.emplace_back(t.dtype, t.shape);
  store_minifloat_codes(part, tensors[0].bytes());
  store_minifloat_scales(part, tensors[1].dtype(), tensors[1].bytes());
  if (spec.bits == 4) tensors[2].as<float>()[0] = part.params[minifloat_divisor];
  if (!part.group_of_column.empty())
    std::memcpy(tensors.back().bytes().data(), part.group_of_column.data(), tensors.back().bytes().size());
  return tensors;
}

Result<std::unique_ptr<WeightMatrix>> open(const GridSpec& spec, std::int64_t rows, std::int64_t cols,
                                           std::span<const TensorView> tensors) {
  VN_ASSIGN(MinifloatTensors t, checked(spec, rows, cols, tensors));
  std::int64_t bytes = 0;
  for (const TensorView& tensor : tensors) bytes += static_cast<std::int64_t>(tensor.bytes.size());
  return std::unique_ptr<WeightMatrix>(std::make_unique<MinifloatMatrix>(std::move(t), bytes, nullptr));
}

Result<GridPart> unpack(const GridSpec& spec, std::int64_t rows, std::int64_t cols,
                        std::span<const TensorView> tensors) {
  VN_ASSIGN(const MinifloatTensors t, checked(spec, rows, cols, tensors));
  return minifloat_part(t);
}

}  // namespace

std::vector<StoredTensor> minifloat_layout(const GridSpec& spec, std::int64_t rows, std::int64_t cols,
                                           bool column_groups) {
  const bool four = spec.bits == 4;
  const std::int64_t groups = spec.group > 0 ? (cols + spec.group - 1) / spec.group : 1;
  std::vector<StoredTensor> tensors{
      {"codes", DType::u8, {rows, packed_bytes(cols, spec.bits)}},
      {"scale", four ? DType::f8_e4m3 : spec.scale_dtype, {scale_rows(spec, rows), groups}}};
  if (four) tensors.push_back({"divisor", DType::f32, {1}});
  if (column_groups) tensors.push_back({"column_group", DType::i32, {cols}});
  return tensors;
}

std::shared_ptr<const WeightMatrix> minifloat_matrix(MinifloatTensors tensors, std::int64_t stored_bytes,
                                                     std::shared_ptr<const void> keep_alive) {
  return std::make_shared<MinifloatMatrix>(std::move(tensors), stored_bytes, std::move(keep_alive));
}

Result<GridPart> minifloat_part(const MinifloatTensors& t) {
  GridPart part{.rows = t.rows, .cols = t.cols, .group_of_column = t.column_group};
  VN_ASSIGN(part.grid, make_grid(t.spec));
  const std::int64_t groups = t.groups();
  const int count = part.grid->params_per_group();
  part.codes.resize(t.rows * t.cols);
  part.params.assign((part.grid->per_tensor() ? 1 : t.rows) * groups * count, 1.0f);
  RowReader reader(t);
  for (std::int64_t r = 0; r < t.rows; ++r) {
    const std::span<std::uint8_t> codes(part.codes.data() + r * t.cols, static_cast<std::size_t>(t.cols));
    reader.codes(r, codes);
    if (t.spec.bits == 8)
      for (const std::uint8_t code : codes)
        if ((code & 0x7F) > E4M3::top_code)
          return fail(ErrorCode::invalid, "{} weight: a code of row {} is no number", t.spec.text(), r);
    if (r > 0 && part.grid->per_tensor()) continue;
    const std::span<const float> scales = reader.scales(r);
    for (std::int64_t g = 0; g < groups; ++g) {
      if (!std::isfinite(scales[g]))
        return fail(ErrorCode::invalid, "{} weight, tensor 'scale': row {}, group {} is not finite", t.spec.text(), r,
                    g);
      float* const params = part.params.data() + (r * groups + g) * count;
      if (t.spec.format == "mxfp4") {
        params[block_d] = scales[g] / 2;  // its table holds twice the values
        params[block_dmin] = 0;
      } else {
        params[minifloat_scale] = scales[g];
        if (count > 1) params[minifloat_divisor] = t.divisor;
      }
    }
  }
  return part;
}

void store_minifloat_codes(const GridPart& part, std::span<std::byte> out) {
  const int bits = part.grid->spec().bits;
  pack_rows(part.codes, part.cols, bits, packed_bytes(part.cols, bits), out);
}

void store_minifloat_scales(const GridPart& part, DType dtype, std::span<std::byte> out) {
  const GridSpec& spec = part.grid->spec();
  const std::int64_t rows = scale_rows(spec, part.rows), groups = part.groups();
  std::vector<float> scales(rows * groups);
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t g = 0; g < groups; ++g)
      scales[r * groups + g] = part.params_of(r * spec.group_rows, g)[minifloat_scale];
  if (dtype != DType::f8_e4m3 && dtype != DType::u8) return from_float(scales, dtype, out);
  for (std::size_t i = 0; i < scales.size(); ++i)
    out[i] = std::byte{dtype == DType::u8 ? static_cast<std::uint8_t>(std::ilogb(2 * scales[i]) + 127)  // of mxfp4
                                          : E4M3::encode(scales[i])};
}

namespace units {
extern const FormatDescriptor format_fp8, format_nvfp4;
const FormatDescriptor format_fp8{
    .name = "fp8",
    .summary = "8-bit floats (E4M3); a scale per tensor, channel, group, or block of group_rows x group",
    .make = MinifloatGrid::make,
    .layout = minifloat_layout,
    .pack = pack,
    .open = open,
    .unpack = unpack,
};
const FormatDescriptor format_nvfp4{
    .name = "nvfp4",
    .summary = "4-bit floats (E2M1) in groups of 16 under E4M3 scales and one float a tensor",
    .make = MinifloatGrid::make,
    .layout = minifloat_layout,
    .pack = pack,
    .open = open,
    .unpack = unpack,
    .fixed = nvfp4_spec(),
};
}  // namespace units

}  // namespace vernier
