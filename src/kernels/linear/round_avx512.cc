#include <immintrin.h>

#include <cstring>

#include "kernels/linear/bf16.h"

namespace vernier::kernels {

__attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16"))) void round_to_bf16(const float* in, std::int64_t n,
                                                                                   std::uint16_t* out) {
  for (std::int64_t i = 0; i < n; i += 16) {
    const __mmask16 tail = n - i >= 16 ? 0xFFFF : static_cast<__mmask16>((1u << (n - i)) - 1);
    const __m256bh rounded = _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(tail, in + i));
    __m256i bits;
    std::memcpy(&bits, &rounded, sizeof bits);
    _mm256_mask_storeu_epi16(out + i, tail, bits);
  }
}

}  // namespace vernier::kernels
