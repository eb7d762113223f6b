#include "formats/int/grid.h"

#include "base/fail.h"
#include "base/vectorize.h"
#include "formats/stored_tensors.h"
#include "tensor/convert.h"

namespace vernier {
namespace {

// The normal numbers of the types a scale is stored in; outside, a scale is clamped: below, because subnormal scales
// lose precision and runtimes flush them; above, so that 255 steps are still finite.
struct ScaleLimits {
  float lowest, highest;
};
ScaleLimits scale_limits(DType dtype) {
  if (dtype == DType::f16) return {0x1p-14f, 65504.0f};
  return {0x1p-126f, 0x1p119f};  // bf16
}

// One weight on the grid. `offset` is the zero point of signed codes, zero - half.
inline void encode_one(float value, float scale, float offset, float half, std::uint8_t& code, float& decoded) {
  float q = std::rint(value / scale + offset);
  q = q > -half ? q : -half;  // also catches NaN
  q = q < half - 1 ? q : half - 1;
  code = static_cast<std::uint8_t>(static_cast<int>(q + half));
  decoded = (q - offset) * scale;
}

VN_VECTORIZED void encode_group(const float* __restrict values, std::int64_t count, float scale, float offset,
                                float half, std::uint8_t* __restrict codes, float* __restrict decoded) {
  for (std::int64_t i = 0; i < count; ++i) encode_one(values[i], scale, offset, half, codes[i], decoded[i]);
}

VN_VECTORIZED void encode_rows_of_column(const float* __restrict values, std::int64_t count,
                                         const float* __restrict scales, const float* __restrict zeros, float half,
                                         std::uint8_t* __restrict codes, float* __restrict decoded) {
  for (std::int64_t i = 0; i < count; ++i)
    encode_one(values[i], scales[i], zeros[i] - half, half, codes[i], decoded[i]);
}

}  // namespace

VN_VECTORIZED void dequantize_groups(const std::uint8_t* __restrict codes, std::int64_t count, std::int64_t group,
                                     const float* __restrict scales, const float* __restrict zeros,
                                     float* __restrict out) {
  for (std::int64_t first = 0, g = 0; first < count; first += group, ++g) {
    const float scale = scales[g], zero = zeros[g];
    const std::int64_t last = first + group < count ? first + group : count;
    for (std::int64_t i = first; i < last; ++i) out[i] = (static_cast<float>(codes[i]) - zero) * scale;
  }
}

VN_VECTORIZED void dequantize_gather(const std::uint8_t* __restrict codes, std::int64_t count,
                                     const std::int32_t* __restrict group_of, const float* __restrict scales,
                                     const float* __restrict zeros, float* __restrict out) {
  for (std::int64_t i = 0; i < count; ++i)
    out[i] = (static_cast<float>(codes[i]) - zeros[group_of[i]]) * scales[group_of[i]];
}

Result<std::unique_ptr<Grid>> IntGrid::make(const GridSpec& spec) {
  if (spec.bits < 2 || spec.bits > 8)
    return fail(ErrorCode::unsupported, "format int: bits must be 2 to 8, found {}", spec.bits);
  if (spec.group < -1)
    return fail(ErrorCode::invalid, "format int: group must be positive, 0 (channel) or -1 (tensor), found {}",
                spec.group);
  if (spec.group_rows != 1)
    return fail(ErrorCode::unsupported, "format int: group_rows must be 1, found {}", spec.group_rows);
  if (spec.scale_dtype != DType::f16 && spec.scale_dtype != DType::bf16)
    return fail(ErrorCode::unsupported, "format int: scale_dtype must be F16 or BF16, found {}",
                name(spec.scale_dtype));
  return std::unique_ptr<Grid>(new IntGrid(spec));
}

void IntGrid::params_from_range(float low, float high, std::span<float> params) const {
  if (low == 0 && high == 0) low = -1, high = 1;  // any finite scale decodes the zero code to 0
  const float levels = 2 * half() - 1;
  const float ideal = spec_.symmetric ? std::max(-low, high) / (levels / 2) : (high - low) / levels;
  const auto [lowest, highest] = scale_limits(spec_.scale_dtype);
  const float scale = std::clamp(round_to(spec_.scale_dtype, std::min(ideal, highest)), lowest, highest);
  params[int_scale] = scale;
  params[int_zero] = spec_.symmetric ? half() : std::clamp(std::rint(-low / scale), 0.0f, levels);
}

void IntGrid::encode(std::span<const float> values, std::span<const float> params, std::span<std::uint8_t> codes,
                     std::span<float> decoded) const {
  encode_group(values.data(), static_cast<std::int64_t>(values.size()), params[int_scale], params[int_zero] - half(),
               half(), codes.data(), decoded.data());
}

void IntGrid::decode(std::span<const std::uint8_t> codes, std::span<const float> params, std::span<float> out) const {
  const auto count = static_cast<std::int64_t>(codes.size());
  dequantize_groups(codes.data(), count, count, &params[int_scale], &params[int_zero], out.data());
}

void IntGrid::encode_column(std::int64_t count, const float* values, const float* const* params, std::uint8_t* codes,
                            float* decoded) const {
  encode_rows_of_column(values, count, params[int_scale], params[int_zero], half(), codes, decoded);
}

double IntGrid::bits_per_weight(std::int64_t rows, std::int64_t cols) const {
  return layout_bits_per_weight(int_layout(spec_, rows, cols, false), rows, cols);
}

}  // namespace vernier
