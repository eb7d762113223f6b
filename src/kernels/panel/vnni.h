// What the AVX-512 VNNI kernels share: codes to operands, zero points, and floats at the end.
#pragma once

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12's own intrinsics start from undefined registers
#endif
#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "kernels/isa.h"
#include "kernels/panel/kernels.h"

#define VN_INLINE_VNNI VN_TARGET_VNNI inline __attribute__((always_inline))

namespace vernier::kernels {

inline constexpr int kQuads = kStepCols / 4;  // operands of a step

VN_INLINE_VNNI __m512i line(const std::uint8_t* step, int i) { return _mm512_load_si512(step + i * kLineBytes); }

// Operand `quad` of a step: byte 4 * row + j is the code of column 4 * quad + j.
template <int bits, int quad>
VN_INLINE_VNNI __m512i operand(const std::uint8_t* step) {
  if constexpr (bits == 8) {
    return line(step, quad);
  } else if constexpr (bits == 4) {
    const __m512i both = line(step, quad / 2);
    return _mm512_and_si512(quad % 2 ? _mm512_srli_epi16(both, 4) : both, _mm512_set1_epi8(15));
  } else if constexpr (bits == 6) {
    constexpr int left = 4 - quad % 4 * 2;  // of the top two bits to where they belong
    const __m512i top = line(step, 4 + quad / 4);
    const __m512i moved = left >= 0 ? _mm512_slli_epi16(top, std::max(left, 0)) : _mm512_srli_epi16(top, 2);
    const __m512i low = operand<4, quad>(step);
    // low | (moved & 48)
    return _mm512_ternarylogic_epi32(low, moved, _mm512_set1_epi8(48), 0xF8);
  } else {
    constexpr int shift = quad % 4 * 2;
    const __m512i quarter = line(step, quad / 4);
    const __m512i low = _mm512_and_si512(shift ? _mm512_srli_epi16(quarter, shift) : quarter, _mm512_set1_epi8(3));
    if constexpr (bits == 2) return low;
    const __m512i top = line(step, 2);
    const __m512i moved = quad < 2 ? _mm512_slli_epi16(top, 2 - quad) : _mm512_srli_epi16(top, quad - 2);
    // low | (moved & 4)
    return _mm512_ternarylogic_epi32(low, moved, _mm512_set1_epi8(4), 0xF8);
  }
}

VN_INLINE_VNNI __m512i broadcast(const void* p) {
  std::int32_t v;
  std::memcpy(&v, p, 4);
  return _mm512_set1_epi32(v);
}

VN_INLINE_VNNI __m512i widen(const std::uint8_t* bytes) {
  return _mm512_cvtepu8_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(bytes)));
}

// Fine scales and zero points of 16 rows, a number a lane.
struct FineLanes {
  __m512i scale, zero;
};
template <PanelKind kind, int bits>
VN_INLINE_VNNI FineLanes fine_lanes(const std::uint8_t* integers) {
  const __m512i first = widen(integers);
  if constexpr (kind != PanelKind::dual) return {_mm512_set1_epi32(1), first};
  if constexpr (bits == 4) return {_mm512_and_si512(first, _mm512_set1_epi32(15)), _mm512_srli_epi32(first, 4)};
  return {first, widen(integers + kPanelRows)};
}

// -zero in the half of each lane that meets the sum of group g in a pair of sums.
VN_INLINE_VNNI __m512i minus_zero(__m512i zero, std::int64_t g) {
  const __m512i half = _mm512_sll_epi32(zero, _mm_cvtsi32_si128(static_cast<int>(g % 2 * 16)));
  return _mm512_sub_epi16(_mm512_setzero_si512(), half);
}

// y of 16 rows of one panel and one token, from the float sums.
VN_INLINE_VNNI void store(const PanelTask& task, std::int64_t panel, std::int64_t token, __m512 value) {
  const std::int64_t row = panel * kPanelRows, rows = task.w.rows() - row;
  const __mmask16 live = rows >= kPanelRows ? 0xFFFF : static_cast<__mmask16>((1u << rows) - 1);
  if (!task.bias.empty()) value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(live, task.bias.data() + row));
  _mm512_mask_storeu_ps(task.y.row(token) + row, live, value);
}

// The same from the integer sums: channel scale, then the token's.
VN_INLINE_VNNI void store_scaled(const PanelTask& task, std::int64_t panel, std::int64_t token, __m512i sum) {
  const __m512 value = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), _mm512_load_ps(task.w.scales(panel)));
  store(task, panel, token, _mm512_mul_ps(value, _mm512_set1_ps(task.x.scales(token)[0])));
}

}  // namespace vernier::kernels
