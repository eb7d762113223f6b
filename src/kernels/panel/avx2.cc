// AVX2 has no four-way dot product: pairs of products are added with saturation to 16 bits. Codes of at most 4 bits
// stay far from it (8 pairs of 2 * 15 * 127 are 30480), so they are multiplied as they are, and wider ones as two
// nibbles; fine scales follow at the end of each group.
#define VN_TARGET_HALF VN_TARGET_AVX2
#include "kernels/panel/half_panel.h"

namespace vernier::kernels {
namespace {

// What is multiplied: a code, or the low four bits (nibble 0) or those above (nibble 1) of a wider one.
template <int bits, int quad, int nibble>
VN_INLINE_HALF __m256i factor(const std::uint8_t* step) {
  if constexpr (bits == 6 && nibble == 0) return operand<4, quad>(step);
  if constexpr (bits == 6 && nibble == 1) return operand<2, quad>(step + 4 * kLineBytes);
  if constexpr (bits != 8) return operand<bits, quad>(step);
  return _mm256_and_si256(_mm256_srli_epi16(half_line(step, quad), 4 * nibble), _mm256_set1_epi8(15));
}

// sum16[t] += the step's codes, from operand `quad` on, times the codes of token t.
template <int bits, int nibble, int T, int quad = 0>
VN_INLINE_HALF void dot_step(const std::uint8_t* step, const std::int8_t* x, __m256i (&sum16)[T]) {
  constexpr int block = T == 1 ? 1 : 4;  // of x
  const __m256i w = factor<bits, quad, nibble>(step);
#pragma GCC unroll 4
  for (int t = 0; t < T; ++t) {
    const __m256i pairs = _mm256_maddubs_epi16(w, broadcast(x + 4 * quad * block + 4 * t));
    sum16[t] = _mm256_add_epi16(sum16[t], pairs);
  }
  if constexpr (quad + 1 < kQuads) dot_step<bits, nibble, T, quad + 1>(step, x, sum16);
}

template <int bits, int nibble, int T>
VN_INLINE_HALF void add_factors(const std::uint8_t* step, const std::int8_t* x, __m256i (&sum)[T]) {
  __m256i sum16[T];
  for (int t = 0; t < T; ++t) sum16[t] = _mm256_setzero_si256();
  dot_step<bits, nibble, T>(step, x, sum16);
  for (int t = 0; t < T; ++t)
    sum[t] = _mm256_add_epi32(sum[t], _mm256_madd_epi16(sum16[t], _mm256_set1_epi16(nibble ? 16 : 1)));
}

struct Pairs {
  template <int bits, int T>
  static VN_INLINE_HALF void add_step(const std::uint8_t* step, const std::int8_t* x, __m256i (&sum)[T]) {
    add_factors<bits, 0, T>(step, x, sum);
    if constexpr (bits > 4) add_factors<bits, 1, T>(step, x, sum);
  }
};

}  // namespace

void panels_avx2(const PanelTask& task, const PanelRange& range) {
  by_kind_and_bits(task.w.spec(), [&]<PanelKind kind, int bits>() { half_panels<Pairs, kind, bits>(task, range); });
}

}  // namespace vernier::kernels
