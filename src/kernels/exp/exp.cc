#include "kernels/exp/exp.h"

#include <array>
#include <bit>

#include "kernels/isa.h"

namespace vernier::kernels {
namespace {

constexpr int kLanes = 16;

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

VN_INLINE float exp_sum_body(float* x, std::int64_t n, float shift) {
  std::array<float, kLanes> sums{};
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) x[i + lane] = exponential(x[i + lane] - shift);
    for (int lane = 0; lane < kLanes; ++lane) sums[lane] += x[i + lane];
  }
  float sum = 0;
  for (; i < n; ++i) sum += x[i] = exponential(x[i] - shift);
  for (float s : sums) sum += s;
  return sum;
}

VN_INLINE float maximum_body(const float* x, std::int64_t n) {
  std::array<float, kLanes> best;
  best.fill(x[0]);
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) best[lane] = x[i + lane] > best[lane] ? x[i + lane] : best[lane];
  }
  float maximum = best[0];
  for (float b : best) maximum = b > maximum ? b : maximum;
  for (; i < n; ++i) maximum = x[i] > maximum ? x[i] : maximum;
  return maximum;
}

VN_INLINE void silu_body(float* x, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) x[i] = x[i] / (1.0f + exponential(-x[i]));
}

float exp_sum_scalar(float* x, std::int64_t n, float shift) { return exp_sum_body(x, n, shift); }
VN_TARGET_AVX2 float exp_sum_avx2(float* x, std::int64_t n, float shift) { return exp_sum_body(x, n, shift); }
VN_TARGET_AVX512 float exp_sum_avx512(float* x, std::int64_t n, float shift) { return exp_sum_body(x, n, shift); }

float maximum_scalar(const float* x, std::int64_t n) { return maximum_body(x, n); }
VN_TARGET_AVX2 float maximum_avx2(const float* x, std::int64_t n) { return maximum_body(x, n); }
VN_TARGET_AVX512 float maximum_avx512(const float* x, std::int64_t n) { return maximum_body(x, n); }

void silu_scalar(float* x, std::int64_t n) { silu_body(x, n); }
VN_TARGET_AVX2 void silu_avx2(float* x, std::int64_t n) { silu_body(x, n); }
VN_TARGET_AVX512 void silu_avx512(float* x, std::int64_t n) { silu_body(x, n); }

}  // namespace

ExpSum exp_sum_kernel() { return pick<ExpSum>(exp_sum_scalar, exp_sum_avx2, exp_sum_avx512); }
Maximum maximum_kernel() { return pick<Maximum>(maximum_scalar, maximum_avx2, maximum_avx512); }
Silu silu_kernel() { return pick<Silu>(silu_scalar, silu_avx2, silu_avx512); }

}  // namespace vernier::kernels
