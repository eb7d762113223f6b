#include "base/random.h"

#include <cmath>

namespace vernier {

float Random::normal(std::uint64_t index) const {
  const std::uint64_t word = bits(index);
  const double u = (static_cast<double>(word >> 32) + 0.5) * 0x1p-32;
  const double v = static_cast<double>(word & 0xFFFFFFFFu) * 0x1p-32;
  return static_cast<float>(std::sqrt(-2 * std::log(u)) * std::cos(6.283185307179586 * v));
}

}  // namespace vernier
