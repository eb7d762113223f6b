#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12's own intrinsics start from undefined registers
#endif
#include <immintrin.h>

#include "kernels/hadamard/hadamard.h"
#include "kernels/isa.h"

#define VN_TARGET_STAGES VN_TARGET_AVX2

namespace vernier::kernels {
namespace {

using Vector = __m256;
constexpr std::int64_t kLanes = 8;

VN_TARGET_STAGES VN_INLINE Vector load(const float* x) { return _mm256_loadu_ps(x); }
VN_TARGET_STAGES VN_INLINE void store(float* x, Vector v) { _mm256_storeu_ps(x, v); }
VN_TARGET_STAGES VN_INLINE Vector all(float x) { return _mm256_set1_ps(x); }

// Stages at distance 1, 2, 4 inside a vector: s holds each lane's partner; the upper of a pair takes s - x.
VN_TARGET_STAGES VN_INLINE __m256 inside(__m256 x) {
  __m256 s = _mm256_permute_ps(x, 0xB1);
  x = _mm256_blend_ps(_mm256_add_ps(x, s), _mm256_sub_ps(s, x), 0xAA);
  s = _mm256_permute_ps(x, 0x4E);
  x = _mm256_blend_ps(_mm256_add_ps(x, s), _mm256_sub_ps(s, x), 0xCC);
  s = _mm256_permute2f128_ps(x, x, 1);
  return _mm256_blend_ps(_mm256_add_ps(x, s), _mm256_sub_ps(s, x), 0xF0);
}

}  // namespace
}  // namespace vernier::kernels

#include "kernels/hadamard/stages.h"

namespace vernier::kernels {

void butterflies_avx2(float* x, std::int64_t n, float scale) {
  switch (n / kLanes) {
    case 0:
      return butterflies_scalar(x, n, scale);
    case 1:
      return first_stages<1>(x, n, scale);
    case 2:
      return first_stages<2>(x, n, scale);
    case 4:
      return first_stages<4>(x, n, scale);
    default:
      first_stages<8>(x, n, scale);
  }
  for (std::int64_t h = 8 * kLanes; h < n;) {
    if (n / h >= 8) {
      more_stages<8>(x, n, h);
      h *= 8;
    } else {
      more_stages<2>(x, n, h);
      h *= 2;
    }
  }
}

}  // namespace vernier::kernels
