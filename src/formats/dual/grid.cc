#include "formats/dual/grid.h"

#include <algorithm>
#include <cmath>

#include "base/fail.h"
#include "base/vectorize.h"
#include "formats/stored_tensors.h"

namespace vernier {
namespace {

constexpr float coarse_lowest = 0x1p-100f;  // far above the subnormal numbers that runtimes flush

inline void encode_one(float value, float coarse, float fine, float zero, float levels, std::uint8_t& code,
                       float& decoded) {
  float q = std::rint(value / (coarse * fine)) + zero;
  q = q > 0 ? q : 0;  // also catches NaN
  q = q < levels ? q : levels;
  code = static_cast<std::uint8_t>(static_cast<int>(q));
  decoded = coarse * (fine * (q - zero));
}

VN_VECTORIZED void encode_group(const float* __restrict values, std::int64_t count, float coarse, float fine,
                                float zero, float levels, std::uint8_t* __restrict codes, float* __restrict decoded) {
  for (std::int64_t i = 0; i < count; ++i) encode_one(values[i], coarse, fine, zero, levels, codes[i], decoded[i]);
}

VN_VECTORIZED void encode_rows_of_column(const float* __restrict values, std::int64_t count,
                                         const float* __restrict coarse, const float* __restrict fine,
                                         const float* __restrict zero, float levels, std::uint8_t* __restrict codes,
                                         float* __restrict decoded) {
  for (std::int64_t i = 0; i < count; ++i)
    encode_one(values[i], coarse[i], fine[i], zero[i], levels, codes[i], decoded[i]);
}

}  // namespace

VN_VECTORIZED void dual_values(const std::uint8_t* __restrict codes, std::int64_t count, float coarse, float fine,
                               float zero, float* __restrict out) {
  for (std::int64_t i = 0; i < count; ++i) out[i] = coarse * (fine * (static_cast<float>(codes[i]) - zero));
}

Result<std::unique_ptr<Grid>> DualGrid::make(const GridSpec& spec) {
  if (spec.bits < 2 || spec.bits > 4)
    return fail(ErrorCode::unsupported, "format dual: bits must be 2, 3 or 4, found {}", spec.bits);
  if (spec.group < 1)
    return with_hint(fail(ErrorCode::invalid, "format dual: group must be a number of columns, found {}",
                          spec.group == 0 ? "channel" : "tensor"),
                     "use groups of 32, 64 or 128, or format int for one scale per channel");
  if (spec.scale_dtype != DType::f32)
    return fail(ErrorCode::unsupported, "format dual: scale_dtype must be F32, found {}", name(spec.scale_dtype));
  return std::unique_ptr<Grid>(new DualGrid(spec));
}

void DualGrid::params_from_range(float low, float high, std::span<float> params) const {
  const float ideal = spec_.symmetric ? std::max(-low, high) / (levels() / 2) : (high - low) / levels();
  const float coarse = std::clamp(ideal / fine_max(), coarse_lowest, dual_coarse_max);
  params[dual_coarse] = coarse;
  params[dual_fine] = fine_max();
  params[dual_zero] = spec_.symmetric ? static_cast<float>(1 << (spec_.bits - 1))
                                      : std::clamp(std::rint(-low / (coarse * fine_max())), 0.0f, levels());
}

void DualGrid::settle_row(std::span<float> params, float ratio) const {
  float largest = 0;
  for (std::size_t i = 0; i < params.size(); i += dual_params)
    largest = std::max(largest, params[i + dual_coarse] * params[i + dual_fine]);
  const float coarse = std::clamp(ratio * largest / fine_max(), coarse_lowest, dual_coarse_max);
  for (std::size_t i = 0; i < params.size(); i += dual_params) {
    const float step = params[i + dual_coarse] * params[i + dual_fine];
    params[i + dual_coarse] = coarse;
    params[i + dual_fine] = std::clamp(std::rint(step / coarse), 1.0f, fine_max());
  }
}

void DualGrid::encode(std::span<const float> values, std::span<const float> params, std::span<std::uint8_t> codes,
                      std::span<float> decoded) const {
  encode_group(values.data(), static_cast<std::int64_t>(values.size()), params[dual_coarse], params[dual_fine],
               params[dual_zero], levels(), codes.data(), decoded.data());
}

void DualGrid::decode(std::span<const std::uint8_t> codes, std::span<const float> params, std::span<float> out) const {
  dual_values(codes.data(), static_cast<std::int64_t>(codes.size()), params[dual_coarse], params[dual_fine],
              params[dual_zero], out.data());
}

void DualGrid::encode_column(std::int64_t count, const float* values, const float* const* params, std::uint8_t* codes,
                             float* decoded) const {
  encode_rows_of_column(values, count, params[dual_coarse], params[dual_fine], params[dual_zero], levels(), codes,
                        decoded);
}

double DualGrid::bits_per_weight(std::int64_t rows, std::int64_t cols) const {
  return layout_bits_per_weight(dual_layout(spec_, rows, cols, false), rows, cols);
}

}  // namespace vernier
