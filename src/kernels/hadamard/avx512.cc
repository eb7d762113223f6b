#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12's own intrinsics start from undefined registers
#endif
#include <immintrin.h>

#include "kernels/hadamard/hadamard.h"
#include "kernels/isa.h"

#define VN_TARGET_STAGES VN_TARGET_AVX512

namespace vernier::kernels {
namespace {

using Vector = __m512;
constexpr std::int64_t kLanes = 16;

VN_TARGET_STAGES VN_INLINE Vector load(const float* x) { return _mm512_loadu_ps(x); }
VN_TARGET_STAGES VN_INLINE void store(float* x, Vector v) { _mm512_storeu_ps(x, v); }
VN_TARGET_STAGES VN_INLINE Vector all(float x) { return _mm512_set1_ps(x); }

// Stages at distance 1, 2, 4, 8 inside a vector: s holds each lane's partner; the upper of a pair takes s - x.
VN_TARGET_STAGES VN_INLINE __m512 inside(__m512 x) {
  __m512 s = _mm512_permute_ps(x, 0xB1);
  x = _mm512_mask_sub_ps(_mm512_add_ps(x, s), 0xAAAA, s, x);
  s = _mm512_permute_ps(x, 0x4E);
  x = _mm512_mask_sub_ps(_mm512_add_ps(x, s), 0xCCCC, s, x);
  s = _mm512_shuffle_f32x4(x, x, 0xB1);
  x = _mm512_mask_sub_ps(_mm512_add_ps(x, s), 0xF0F0, s, x);
  s = _mm512_shuffle_f32x4(x, x, 0x4E);
  return _mm512_mask_sub_ps(_mm512_add_ps(x, s), 0xFF00, s, x);
}

}  // namespace
}  // namespace vernier::kernels

#include "kernels/hadamard/stages.h"

namespace vernier::kernels {

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
