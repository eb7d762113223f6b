#include "kernels/linear/bf16.h"

#include <immintrin.h>

#include <cstring>

#include "kernels/isa.h"
#include "kernels/one_thread.h"
#include "kernels/onednn/api.h"

namespace vernier::kernels {
bool multiplies_bf16() { return best_isa() >= Isa::avx512 && __builtin_cpu_supports("avx512bf16"); }

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

bool product_bf16(Matrix<const std::uint16_t> x, Matrix<const std::uint16_t> w, Matrix<float> y) {
  const OneThread one_thread;
  return onednn().product_bf16(x.rows, w.rows, x.cols, x.data, x.stride, w.data, w.stride, y.data, y.stride);
}

}  // namespace vernier::kernels
