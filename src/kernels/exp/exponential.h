// The exponential that loops are built around; see exp.h for its accuracy.
#pragma once

#include <bit>
#include <cstdint>

#include "kernels/isa.h"

namespace vernier::kernels {

// exp(x) = 2^n e^r with n = round(x / ln 2), |r| <= ln(2) / 2. The series of e^r to degree 7 is short by at most
// r^8 / 8! < 6e-9 of the result. ln 2 is split so that n * kLn2High is exact for |n| < 2^11.
VN_INLINE float exponential(float x) {
  constexpr float kRound = 0x1.8p23f;  // adding it leaves the nearest integer in the low mantissa bits
  constexpr float kLn2High = 0x1.62ep-1f;
  constexpr float kLn2Low = static_cast<float>(0x1.62e42fefa39efp-1 - 0x1.62ep-1);
  x = x < -104.0f ? -104.0f : x;  // e^-104 rounds to 0
  x = x > 89.0f ? 89.0f : x;      // e^89 overflows
  const float shifted = x * 1.44269504f + kRound;
  const std::int32_t n = std::bit_cast<std::int32_t>(shifted) - std::bit_cast<std::int32_t>(kRound);
  const float whole = shifted - kRound;
  const float r = (x - whole * kLn2High) - whole * kLn2Low;
  float p = 1.0f / 5040;
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = (p * r) * r + r;
  p = p + 1.0f;
  // 2^n in two factors, so that results below the smallest normal float round once and those above overflow.
  const std::int32_t half = n >> 1;
  const float low = std::bit_cast<float>((half + 127) << 23);
  const float high = std::bit_cast<float>((n - half + 127) << 23);
  return p * low * high;
}

}  // namespace vernier::kernels
