#include "formats/minifloat/grid.h"

#include <algorithm>
#include <array>

#include "base/fail.h"
#include "base/vectorize.h"
#include "formats/minifloat/codec.h"
#include "formats/stored_tensors.h"
#include "tensor/convert.h"

namespace vernier {
namespace {

// Scales keep to normal numbers, as those of integers do: below, because runtimes flush subnormals; above, so that 448
// of them are still finite.
float clamp_scale(DType dtype, float scale) {
  const bool half = dtype == DType::f16;
  const float lowest = half ? 0x1p-14f : 0x1p-126f, highest = half ? 65504.0f : 0x1p119f;
  return std::clamp(round_to(dtype, std::min(scale, highest)), lowest, highest);
}

// The divisor of a tensor keeps quotients of ordinary scales within floats.
constexpr float least_divisor = 0x1p-100f, most_divisor = 0x1p100f;

float step_of(float scale, float divisor) { return scale / divisor; }

template <class Codec>
VN_VECTORIZED void encode_group(const float* __restrict values, std::int64_t count, float step,
                                std::uint8_t* __restrict codes, float* __restrict decoded) {
  for (std::int64_t i = 0; i < count; ++i) {
    codes[i] = Codec::encode(values[i] / step);
    decoded[i] = Codec::values[codes[i]] * step;
  }
}

template <class Codec>
VN_VECTORIZED void encode_rows_of_column(const float* __restrict values, std::int64_t count,
                                         const float* __restrict scales, const float* __restrict divisors,
                                         std::uint8_t* __restrict codes, float* __restrict decoded) {
  for (std::int64_t i = 0; i < count; ++i) {
    const float step = divisors ? scales[i] / divisors[i] : scales[i];
    codes[i] = Codec::encode(values[i] / step);
    decoded[i] = Codec::values[codes[i]] * step;
  }
}

}  // namespace

GridSpec nvfp4_spec() { return {"nvfp4", 4, true, 16, DType::f32}; }

Result<std::unique_ptr<Grid>> MinifloatGrid::make(const GridSpec& spec) {
  if (spec.format == "nvfp4") {
    if (spec != nvfp4_spec())
      return fail(ErrorCode::unsupported,
                  "format nvfp4: the name says all: bits 4, symmetric, group 16, scale_dtype F32; found bits {}, {}, "
                  "group {}, scale_dtype {}",
                  spec.bits, spec.symmetric ? "symmetric" : "asymmetric", spec.group, name(spec.scale_dtype));
    return std::unique_ptr<Grid>(new MinifloatGrid(spec));
  }
  if (spec.bits != 8) return fail(ErrorCode::unsupported, "format fp8: bits must be 8, found {}", spec.bits);
  if (!spec.symmetric) return fail(ErrorCode::unsupported, "format fp8: symmetric must be true, found false");
  if (spec.group < -1)
    return fail(ErrorCode::invalid, "format fp8: group must be positive, 0 (channel) or -1 (tensor), found {}",
                spec.group);
  if (spec.group_rows < 1 || (spec.group_rows > 1 && spec.group <= 0))
    return fail(ErrorCode::invalid,
                "format fp8: group_rows must be 1, or more together with a positive group; found {} with group {}",
                spec.group_rows, spec.group);
  if (spec.scale_dtype != DType::f16 && spec.scale_dtype != DType::bf16 && spec.scale_dtype != DType::f32)
    return fail(ErrorCode::unsupported, "format fp8: scale_dtype must be F16, BF16 or F32, found {}",
                name(spec.scale_dtype));
  return std::unique_ptr<Grid>(new MinifloatGrid(spec));
}

void MinifloatGrid::params_from_range(float low, float high, std::span<float> params) const {
  const float largest = std::max(-low, high);
  if (!four_bits()) {
    // Any finite scale decodes the code of 0 to 0.
    params[minifloat_scale] = clamp_scale(spec_.scale_dtype, largest > 0 ? largest / E4M3::top : 1.0f);
    return;
  }
  params[minifloat_scale] = std::clamp(largest / E2M1::top, 0x1p-126f, 0x1p124f);  // until settle_rows()
  params[minifloat_divisor] = 1;
}

void MinifloatGrid::settle_rows(std::int64_t rows, std::span<float> params) const {
  if (params.empty()) return;
  if (!four_bits()) {
    // A block's largest magnitude is that of its rows, and so is its scale.
    const std::int64_t groups = static_cast<std::int64_t>(params.size()) / rows;
    for (std::int64_t g = 0; g < groups; ++g) {
      float largest = 0;
      for (std::int64_t r = 0; r < rows; ++r) largest = std::max(largest, params[r * groups + g]);
      for (std::int64_t r = 0; r < rows; ++r) params[r * groups + g] = largest;
    }
    return;
  }
  float largest = 0;
  bool settled = true;
  for (std::size_t i = 0; i < params.size(); i += 2) {
    const float scale = params[i + minifloat_scale], step = step_of(scale, params[i + minifloat_divisor]);
    settled = settled && params[i + minifloat_divisor] == params[minifloat_divisor] &&
              E4M3::values[E4M3::encode(scale)] == scale;
    largest = std::max(largest, step);
  }
  if (settled) return;
  const float divisor = std::clamp(E4M3::top / largest, least_divisor, most_divisor);
  for (std::size_t i = 0; i < params.size(); i += 2) {
    const float step = step_of(params[i + minifloat_scale], params[i + minifloat_divisor]);
    const std::uint8_t code = std::max(E4M3::encode(step * divisor), std::uint8_t{1});  // never 0
    params[i + minifloat_scale] = E4M3::values[code];
    params[i + minifloat_divisor] = divisor;
  }
}

void MinifloatGrid::encode(std::span<const float> values, std::span<const float> params, std::span<std::uint8_t> codes,
                           std::span<float> decoded) const {
  const auto count = static_cast<std::int64_t>(values.size());
  if (four_bits())
    encode_group<E2M1>(values.data(), count, step_of(params[minifloat_scale], params[minifloat_divisor]), codes.data(),
                       decoded.data());
  else
    encode_group<E4M3>(values.data(), count, params[minifloat_scale], codes.data(), decoded.data());
}

void MinifloatGrid::decode(std::span<const std::uint8_t> codes, std::span<const float> params,
                           std::span<float> out) const {
  const bool four = four_bits();
  const float step = four ? step_of(params[minifloat_scale], params[minifloat_divisor]) : params[minifloat_scale];
  const float* const table = four ? E2M1::values.data() : E4M3::values.data();
  for (std::size_t i = 0; i < codes.size(); ++i) out[i] = table[codes[i]] * step;
}

void MinifloatGrid::encode_column(std::int64_t count, const float* values, const float* const* params,
                                  std::uint8_t* codes, float* decoded) const {
  if (four_bits())
    encode_rows_of_column<E2M1>(values, count, params[minifloat_scale], params[minifloat_divisor], codes, decoded);
  else
    encode_rows_of_column<E4M3>(values, count, params[minifloat_scale], nullptr, codes, decoded);
}

double MinifloatGrid::bits_per_weight(std::int64_t rows, std::int64_t cols) const {
  return layout_bits_per_weight(minifloat_layout(spec_, rows, cols, false), rows, cols);
}

}  // namespace vernier
