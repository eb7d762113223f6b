#include "tensor/finite.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace vernier {

std::int64_t first_not_finite(std::span<const float> values) {
  constexpr std::int32_t magnitude = 0x7FFFFFFF, infinity = 0x7F800000;  // NaNs lie above infinity
  std::int32_t largest = 0;
  for (const float x : values) largest = std::max(largest, std::bit_cast<std::int32_t>(x) & magnitude);
  if (largest < infinity) return -1;
  return std::find_if(values.begin(), values.end(), [](float x) { return !std::isfinite(x); }) - values.begin();
}

}  // namespace vernier
