#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12's own intrinsics start from undefined registers
#endif
#include <immintrin.h>

#include "kernels/hadamard/hadamard.h"
#include "kernels/isa.h"

namespace vernier::kernels {
namespace {

constexpr std::int64_t kLanes = 8;

// Stages at distance 1 .. count / 2, in vectors.
template <int kCount>
VN_TARGET_AVX2 VN_INLINE void across(__m256 (&r)[kCount]) {
#pragma GCC unroll 3
  for (int h = 1; h < kCount; h *= 2)
#pragma GCC unroll 8
    for (int i = 0; i < kCount; ++i) {
      if (i & h) continue;
      const __m256 u = r[i], v = r[i + h];
      r[i] = _mm256_add_ps(u, v);
      r[i + h] = _mm256_sub_ps(u, v);
    }
}

// Stages at distance 1, 2, 4 inside a vector: s holds each lane's partner; the upper of a pair takes s - x.
VN_TARGET_AVX2 VN_INLINE __m256 inside(__m256 x) {
  __m256 s = _mm256_permute_ps(x, 0xB1);
  x = _mm256_blend_ps(_mm256_add_ps(x, s), _mm256_sub_ps(s, x), 0xAA);
  s = _mm256_permute_ps(x, 0x4E);
  x = _mm256_blend_ps(_mm256_add_ps(x, s), _mm256_sub_ps(s, x), 0xCC);
  s = _mm256_permute2f128_ps(x, x, 1);
  return _mm256_blend_ps(_mm256_add_ps(x, s), _mm256_sub_ps(s, x), 0xF0);
}

// The first stages of every block of kCount vectors.
template <int kCount>
VN_TARGET_AVX2 void first_stages(float* x, std::int64_t n, float scale) {
  const __m256 factor = _mm256_set1_ps(scale);
  for (std::int64_t first = 0; first < n; first += kCount * kLanes) {
    __m256 r[kCount];
#pragma GCC unroll 8
    for (int i = 0; i < kCount; ++i) r[i] = inside(_mm256_mul_ps(_mm256_loadu_ps(x + first + i * kLanes), factor));
    across(r);
#pragma GCC unroll 8
    for (int i = 0; i < kCount; ++i) _mm256_storeu_ps(x + first + i * kLanes, r[i]);
  }
}

// Stages at distance h, 2 h .. kCount / 2 * h.
template <int kCount>
VN_TARGET_AVX2 void more_stages(float* x, std::int64_t n, std::int64_t h) {
  for (std::int64_t first = 0; first < n; first += kCount * h)
    for (std::int64_t at = first; at < first + h; at += kLanes) {
      __m256 r[kCount];
#pragma GCC unroll 8
      for (int i = 0; i < kCount; ++i) r[i] = _mm256_loadu_ps(x + at + i * h);
      across(r);
#pragma GCC unroll 8
      for (int i = 0; i < kCount; ++i) _mm256_storeu_ps(x + at + i * h, r[i]);
    }
}

}  // namespace

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
