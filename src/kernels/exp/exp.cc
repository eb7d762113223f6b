#include "kernels/exp/exp.h"

#include <array>

#include "kernels/exp/exponential.h"

namespace vernier::kernels {
namespace {

constexpr int kLanes = 16;

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

ExpSum exp_sum_kernel() { return pick<exp_sum_scalar, exp_sum_avx2, exp_sum_avx512>(); }
Maximum maximum_kernel() { return pick<maximum_scalar, maximum_avx2, maximum_avx512>(); }
Silu silu_kernel() { return pick<silu_scalar, silu_avx2, silu_avx512>(); }

}  // namespace vernier::kernels
