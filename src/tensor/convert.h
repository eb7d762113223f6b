// Conversions between stored element types and float. Rounding is to nearest, ties to even.
#pragma once

#include <cstdint>
#include <span>

#include "vernier/status.h"
#include "vernier/tensor.h"

namespace vernier {

float f16_to_float(std::uint16_t bits);
std::uint16_t float_to_f16(float value);  // overflow gives infinity
inline float bf16_to_float(std::uint16_t bits) {
  return __builtin_bit_cast(float, static_cast<std::uint32_t>(bits) << 16);
}
std::uint16_t float_to_bf16(float value);

// Value after a round trip through `dtype` (f32, f16 or bf16).
float round_to(DType dtype, float value);

// Elements [first, first + out.size()) of a float tensor (f32, f16, bf16, f64); any alignment.
void to_float(const TensorView& view, std::int64_t first, std::span<float> out);
// `values` in `dtype` (f32, f16, bf16, f64), written to `out`, which has exactly that many bytes.
void from_float(std::span<const float> values, DType dtype, std::span<std::byte> out);

// A float copy of the whole tensor; unsupported element types are an error that names `what`.
Result<Tensor> to_float_tensor(const TensorView& view, std::string_view what);

}  // namespace vernier
