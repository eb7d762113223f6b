#include "tensor/convert.h"

#include <bit>
#include <cstring>

#include "base/cpu.h"
#include "base/fail.h"
#include "tensor/convert_avx2.h"

namespace vernier {
namespace {

template <class T>
T load(const std::byte* p) {
  T value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

}  // namespace

float f16_to_float(std::uint16_t bits) {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000) << 16;
  const std::uint32_t exponent = bits >> 10 & 0x1F, mantissa = bits & 0x3FF;
  if (exponent == 0) {  // zero and subnormals: mantissa * 2^-24
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return sign ? -magnitude : magnitude;
  }
  const std::uint32_t wide = exponent == 31 ? 0x7F800000u | mantissa << 13 : (exponent + 112) << 23 | mantissa << 13;
  return std::bit_cast<float>(sign | wide);
}

std::uint16_t float_to_f16(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const std::uint16_t sign = static_cast<std::uint16_t>(bits >> 16 & 0x8000);
  const std::uint32_t magnitude = bits & 0x7FFFFFFF;
  if (magnitude > 0x7F800000) return sign | 0x7E00;                // NaN
  if (magnitude >= 0x477FF000) return sign | 0x7C00;               // rounds to 65536 or beyond
  if (magnitude < 0x38800000) {                                    // below 2^-14: let the FPU round at 2^-24
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;  // one unit of 0.5's last place is 2^-24
    return sign |
           static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(shifted) - std::bit_cast<std::uint32_t>(0.5f));
  }
  const std::uint32_t odd = magnitude >> 13 & 1;
  return sign | static_cast<std::uint16_t>((magnitude + 0xFFF + odd - (112u << 23)) >> 13);
}

std::uint16_t float_to_bf16(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7FFFFFFF) > 0x7F800000) return static_cast<std::uint16_t>(bits >> 16 | 0x40);  // keep NaN a NaN
  return static_cast<std::uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

float round_to(DType dtype, float value) {
  if (dtype == DType::f16) return f16_to_float(float_to_f16(value));
  if (dtype == DType::bf16) return bf16_to_float(float_to_bf16(value));
  return value;
}

void to_float(const TensorView& view, std::int64_t first, std::span<float> out) {
  const std::byte* in = view.bytes.data() + first * size_bytes(view.dtype);
  const auto n = static_cast<std::int64_t>(out.size());
  [[maybe_unused]] static const bool wide = supports(Isa::avx2);
  switch (view.dtype) {
    case DType::f32:
      std::memcpy(out.data(), in, out.size_bytes());
      return;
    case DType::bf16:
      if constexpr (kX86)
        if (wide) return bf16_to_float_avx2(in, n, out.data());
      for (std::int64_t i = 0; i < n; ++i) out[i] = bf16_to_float(load<std::uint16_t>(in + 2 * i));
      return;
    case DType::f16:
      if constexpr (kX86)
        if (wide) return f16_to_float_avx2(in, n, out.data());
      for (std::int64_t i = 0; i < n; ++i) out[i] = f16_to_float(load<std::uint16_t>(in + 2 * i));
      return;
    case DType::f64:
      for (std::int64_t i = 0; i < n; ++i) out[i] = static_cast<float>(load<double>(in + 8 * i));
      return;
    default:
      std::memset(out.data(), 0, out.size_bytes());
  }
}

void from_float(std::span<const float> values, DType dtype, std::span<std::byte> out) {
  std::byte* p = out.data();
  switch (dtype) {
    case DType::f32:
      std::memcpy(p, values.data(), values.size_bytes());
      return;
    case DType::bf16:
      for (std::size_t i = 0; i < values.size(); ++i) {
        const std::uint16_t bits = float_to_bf16(values[i]);
        std::memcpy(p + 2 * i, &bits, 2);
      }
      return;
    case DType::f16:
      for (std::size_t i = 0; i < values.size(); ++i) {
        const std::uint16_t bits = float_to_f16(values[i]);
        std::memcpy(p + 2 * i, &bits, 2);
      }
      return;
    case DType::f64:
      for (std::size_t i = 0; i < values.size(); ++i) {
        const double wide = values[i];
        std::memcpy(p + 8 * i, &wide, 8);
      }
      return;
    default:
      return;
  }
}

Result<Tensor> to_float_tensor(const TensorView& view, std::string_view what) {
  if (!is_float(view.dtype)) {
    return fail(ErrorCode::unsupported, "{}: wanted a float tensor (F32, F16, BF16, F64), found {}", what,
                name(view.dtype));
  }
  Tensor out(DType::f32, view.shape);
  to_float(view, 0, out.as<float>());
  return out;
}

}  // namespace vernier
