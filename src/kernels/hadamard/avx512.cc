#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12's own intrinsics start from undefined registers
#endif
#include <immintrin.h>

#include "kernels/hadamard/hadamard.h"
#include "kernels/isa.h"

namespace vernier::kernels {
namespace {

constexpr std::int64_t kLanes = 16;

// Stages at distance 1 .. count / 2, in vectors.
template <int kCount>
VN_TARGET_AVX512 VN_INLINE void across(__m512 (&r)[kCount]) {
#pragma GCC unroll 4
  for (int h = 1; h < kCount; h *= 2)
#pragma GCC unroll 16
    for (int i = 0; i < kCount; ++i) {
      if (i & h) continue;
      const __m512 u = r[i], v = r[i + h];
      r[i] = _mm512_add_ps(u, v);
      r[i + h] = _mm512_sub_ps(u, v);
    }
}

// Stages at distance 1, 2, 4, 8 inside a vector: s holds each lane's partner; the upper of a pair takes s - x.
VN_TARGET_AVX512 VN_INLINE __m512 inside(__m512 x) {
  __m512 s = _mm512_permute_ps(x, 0xB1);
  x = _mm512_mask_sub_ps(_mm512_add_ps(x, s), 0xAAAA, s, x);
  s = _mm512_permute_ps(x, 0x4E);
  x = _mm512_mask_sub_ps(_mm512_add_ps(x, s), 0xCCCC, s, x);
  s = _mm512_shuffle_f32x4(x, x, 0xB1);
  x = _mm512_mask_sub_ps(_mm512_add_ps(x, s), 0xF0F0, s, x);
  s = _mm512_shuffle_f32x4(x, x, 0x4E);
  return _mm512_mask_sub_ps(_mm512_add_ps(x, s), 0xFF00, s, x);
}

// The first stages of every block of kCount vectors.
template <int kCount>
VN_TARGET_AVX512 void first_stages(float* x, std::int64_t n, float scale) {
  const __m512 factor = _mm512_set1_ps(scale);
  for (std::int64_t first = 0; first < n; first += kCount * kLanes) {
    __m512 r[kCount];
#pragma GCC unroll 16
    for (int i = 0; i < kCount; ++i) r[i] = inside(_mm512_mul_ps(_mm512_loadu_ps(x + first + i * kLanes), factor));
    across(r);
#pragma GCC unroll 16
    for (int i = 0; i < kCount; ++i) _mm512_storeu_ps(x + first + i * kLanes, r[i]);
  }
}

// Stages at distance h, 2 h .. kCount / 2 * h.
template <int kCount>
VN_TARGET_AVX512 void more_stages(float* x, std::int64_t n, std::int64_t h) {
  for (std::int64_t first = 0; first < n; first += kCount * h)
    for (std::int64_t at = first; at < first + h; at += kLanes) {
      __m512 r[kCount];
#pragma GCC unroll 16
      for (int i = 0; i < kCount; ++i) r[i] = _mm512_loadu_ps(x + at + i * h);
      across(r);
#pragma GCC unroll 16
      for (int i = 0; i < kCount; ++i) _mm512_storeu_ps(x + at + i * h, r[i]);
    }
}

}  // namespace

void butterflies_avx512(float* x, std::int64_t n, float scale) {
  switch (n / kLanes) {
    case 0:
      return butterflies_scalar(x, n, scale);
    case 1:
      return first_stages<1>(x, n, scale);
    case 2:
      return first_stages<2>(x, n, scale);
    case 4:
      return first_stages<4>(x, n, scale);
    case 8:
      return first_stages<8>(x, n, scale);
    default:
      first_stages<16>(x, n, scale);
  }
  for (std::int64_t h = 16 * kLanes; h < n;) {
    if (n / h >= 16) {
      more_stages<16>(x, n, h);
      h *= 16;
    } else if (n / h >= 4) {
      more_stages<4>(x, n, h);
      h *= 4;
    } else {
      more_stages<2>(x, n, h);
      h *= 2;
    }
  }
}

}  // namespace vernier::kernels
