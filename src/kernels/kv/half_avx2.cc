#include <immintrin.h>

#include "kernels/isa.h"
#include "kernels/kv/half.h"
#include "tensor/convert.h"

namespace vernier::kernels {

VN_TARGET_AVX2 void widen_avx2(const std::uint16_t* half, std::int64_t n, float* out) {
  std::int64_t i = 0;
  for (; i + 8 <= n; i += 8)
    _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(half + i))));
  for (; i < n; ++i) out[i] = f16_to_float(half[i]);
}

VN_TARGET_AVX2 void narrow_avx2(const float* in, std::int64_t n, std::uint16_t* half) {
  std::int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m128i bits = _mm256_cvtps_ph(_mm256_loadu_ps(in + i), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(half + i), bits);
  }
  for (; i < n; ++i) half[i] = float_to_f16(in[i]);
}

}  // namespace vernier::kernels
