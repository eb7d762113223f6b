#include <immintrin.h>

#include "kernels/attention/softmax.h"
#include "kernels/isa.h"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"  // GCC 12's false alarm on _mm512_undefined_ps (its bug 105593)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

namespace vernier::kernels {
namespace {

// exp(x) for x <= 0, as in exp/exponential.h with fused products: within 2 units in the last place.
VN_TARGET_AVX512 inline __m512 exponential(__m512 x) {
  x = _mm512_max_ps(_mm512_set1_ps(-104.0f), x);  // e^-104 rounds to 0; the order keeps NaNs
  const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)),
                                        _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0x1.62ep-1f), x);
  r = _mm512_fnmadd_ps(n, _mm512_set1_ps(static_cast<float>(0x1.62e42fefa39efp-1 - 0x1.62ep-1)), r);
  __m512 p = _mm512_set1_ps(1.0f / 5040);
  for (float coefficient : {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f})
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(coefficient));
  return _mm512_scalef_ps(p, n);
}

}  // namespace

VN_TARGET_AVX512 float absorb_avx512(float* scores, std::int64_t first, std::int64_t last, const ValueParams& value,
                                     SoftmaxState& state, float* out, std::int64_t width) {
  const std::uint32_t seen = ~0u >> (32 - (last - first)) << first;
  const auto low = static_cast<__mmask16>(seen), high = static_cast<__mmask16>(seen >> 16);
  const __m512 hidden = _mm512_set1_ps(-std::numeric_limits<float>::infinity());
  __m512 a = _mm512_mask_load_ps(hidden, low, scores), b = _mm512_mask_load_ps(hidden, high, scores + 16);
  const float maximum = _mm512_reduce_max_ps(_mm512_max_ps(a, b));
  if (maximum > state.maximum) {
    if (state.sum > 0) {
      const __m512 shrink = exponential(_mm512_set1_ps(state.maximum - maximum));
      state.sum *= _mm512_cvtss_f32(shrink);
      for (std::int64_t c = 0; c < width; c += 16)
        _mm512_store_ps(out + c, _mm512_mul_ps(_mm512_load_ps(out + c), shrink));
    }
    state.maximum = maximum;
  }
  const __m512 shift = _mm512_set1_ps(state.maximum);
  a = _mm512_maskz_mov_ps(low, exponential(_mm512_sub_ps(a, shift)));
  b = _mm512_maskz_mov_ps(high, exponential(_mm512_sub_ps(b, shift)));
  state.sum += _mm512_reduce_add_ps(_mm512_add_ps(a, b));

  float offset = 0;
  if (value.minimum) {
    const __m512 offsets = _mm512_maskz_mul_ps(low, a, _mm512_load_ps(value.minimum));
    offset = _mm512_reduce_add_ps(
        _mm512_mask_add_ps(offsets, high, offsets, _mm512_maskz_mul_ps(high, b, _mm512_load_ps(value.minimum + 16))));
  }
  if (value.scale) {
    a = _mm512_maskz_mul_ps(low, a, _mm512_load_ps(value.scale));
    b = _mm512_maskz_mul_ps(high, b, _mm512_load_ps(value.scale + 16));
  }
  _mm512_store_ps(scores, a);
  _mm512_store_ps(scores + 16, b);
  return offset;
}

}  // namespace vernier::kernels
