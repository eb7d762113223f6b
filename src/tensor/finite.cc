#include "tensor/finite.h"

#include <algorithm>
#include <cstring>

namespace vernier {
namespace {

// The first of `count` floats whose bits, the sign aside, are not below those of infinity.
template <class Int>
std::int64_t first_above(const std::byte* values, std::int64_t count, Int infinity) {
  constexpr auto magnitude = static_cast<Int>(~(Int{1} << (8 * sizeof(Int) - 1)));
  const auto at = [&](std::int64_t i) {
    Int bits;
    std::memcpy(&bits, values + i * static_cast<std::int64_t>(sizeof bits), sizeof bits);
    return static_cast<Int>(bits & magnitude);
  };
  Int largest = 0;
  for (std::int64_t i = 0; i < count; ++i) largest = std::max(largest, at(i));
  if (largest < infinity) return -1;
  std::int64_t i = 0;
  while (at(i) < infinity) ++i;
  return i;
}

}  // namespace

std::int64_t first_not_finite(std::span<const float> values) {
  return first_above<std::int32_t>(reinterpret_cast<const std::byte*>(values.data()),
                                   static_cast<std::int64_t>(values.size()), 0x7F800000);
}

std::int64_t first_not_finite(const TensorView& view, std::int64_t first, std::int64_t count) {
  const std::byte* const values = view.bytes.data() + first * size_bytes(view.dtype);
  switch (view.dtype) {
    case DType::f16:
      return first_above<std::int16_t>(values, count, 0x7C00);
    case DType::bf16:
      return first_above<std::int16_t>(values, count, 0x7F80);
    case DType::f64:
      return first_above<std::int64_t>(values, count, 0x7FF0000000000000);
    default:
      return first_above<std::int32_t>(values, count, 0x7F800000);
  }
}

}  // namespace vernier
