// Products of half a panel at a time, in registers of 256 bits. The file that includes this defines VN_TARGET_HALF, the
// attribute of its instruction set, and a class with
//   template <int bits, int T> add_step(step, x, sum): sum[t] += codes of 8 rows and 32 columns times those of token t.
#pragma once

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12's own intrinsics start from undefined registers
#endif
#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "kernels/isa.h"
#include "kernels/panel/kernels.h"

#define VN_INLINE_HALF VN_TARGET_HALF VN_INLINE

namespace vernier::kernels {
namespace {

constexpr int kHalfRows = 8;  // a register is half a line
constexpr int kQuads = kStepCols / 4;

VN_INLINE_HALF __m256i half_line(const std::uint8_t* step, int line) {
  return _mm256_load_si256(reinterpret_cast<const __m256i*>(step + line * kLineBytes));
}

// Operand `quad` of half a step of 6, 4, 3 or 2 bits: byte 4 * row + j is the code of column 4 * quad + j.
template <int bits, int quad>
VN_INLINE_HALF __m256i operand(const std::uint8_t* step) {
  const __m256i low4 = _mm256_set1_epi8(15), low2 = _mm256_set1_epi8(3);
  if constexpr (bits == 4) return _mm256_and_si256(_mm256_srli_epi16(half_line(step, quad / 2), quad % 2 * 4), low4);
  if constexpr (bits == 6) {
    const __m256i top = _mm256_and_si256(_mm256_srli_epi16(half_line(step, 4 + quad / 4), quad % 4 * 2), low2);
    return _mm256_or_si256(operand<4, quad>(step), _mm256_slli_epi16(top, 4));
  }
  const __m256i low = _mm256_and_si256(_mm256_srli_epi16(half_line(step, quad / 4), quad % 4 * 2), low2);
  if constexpr (bits == 2) return low;
  const __m256i top = half_line(step, 2);
  constexpr int left = std::max(2 - quad, 0), right = std::max(quad - 2, 0);
  const __m256i moved = _mm256_srli_epi16(_mm256_slli_epi16(top, left), right);
  return _mm256_or_si256(low, _mm256_and_si256(moved, _mm256_set1_epi8(4)));
}

VN_INLINE_HALF __m256i broadcast(const std::int8_t* p) {
  std::int32_t v;
  std::memcpy(&v, p, 4);
  return _mm256_set1_epi32(v);
}

VN_INLINE_HALF __m256i widen(const std::uint8_t* bytes) {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes)));
}

struct FineLanes {
  __m256i scale, zero;
};
template <PanelKind kind, int bits>
VN_INLINE_HALF FineLanes fine_lanes(const std::uint8_t* integers) {
  const __m256i first = widen(integers);
  if constexpr (kind != PanelKind::dual) return {_mm256_set1_epi32(1), first};
  if constexpr (bits == 4) return {_mm256_and_si256(first, _mm256_set1_epi32(15)), _mm256_srli_epi32(first, 4)};
  return {first, widen(integers + kPanelRows)};
}

VN_INLINE_HALF void store(const PanelTask& task, std::int64_t row, std::int64_t token, __m256 value) {
  alignas(32) float lanes[kHalfRows];
  _mm256_store_ps(lanes, value);
  const std::int64_t live = std::min<std::int64_t>(kHalfRows, task.w.rows() - row);
  for (std::int64_t i = 0; i < live; ++i)
    task.y(token, row + i) = task.bias.empty() ? lanes[i] : lanes[i] + task.bias[row + i];
}

// Rows 8 * half .. of one panel, T tokens from `token` (tokens beyond `live` are padding of the block).
template <class Dot, PanelKind kind, int bits, int T>
VN_TARGET_HALF void half_panel(const PanelTask& task, std::int64_t panel, int half, std::int64_t token,
                               std::int64_t live) {
  constexpr int block = T == 1 ? 1 : 4;
  const PanelMatrix& w = task.w;
  const QuantizedRows& x = task.x;
  const int first_row = half * kHalfRows;
  const std::uint8_t* step = w.codes(panel) + 4 * first_row;
  const std::uint8_t* integers = w.integers(panel) + first_row;
  const float* scales = w.scales(panel) + first_row;
  const std::int8_t* codes = x.codes(token);
  const std::int32_t* sums = x.sum_pairs(token);
  __m256i total[T];
  __m256 value[T];
  for (int t = 0; t < T; ++t) total[t] = _mm256_setzero_si256(), value[t] = _mm256_setzero_ps();
  for (std::int64_t g = 0; g < w.groups(); ++g) {
    const FineLanes fine = fine_lanes<kind, bits>(integers + g * integer_bytes({kind, bits}));
    __m256i d[T];
    for (int t = 0; t < T; ++t) {
      const std::int32_t sum = kind == PanelKind::plain
                                   ? x.total(token + t)
                                   : static_cast<std::int16_t>(sums[g / 2 * block + t] >> (g % 2 * 16) & 0xFFFF);
      d[t] = _mm256_sub_epi32(_mm256_setzero_si256(), _mm256_mullo_epi32(fine.zero, _mm256_set1_epi32(sum)));
    }
    for (std::int64_t k = 0; k < w.group_cols();
         k += kStepCols, step += bits * kLineBytes, codes += kStepCols * block) {
      Dot::template add_step<bits, T>(step, codes, d);
    }
    for (int t = 0; t < T; ++t) {
      if constexpr (kind == PanelKind::group) {
        const __m256 scale = _mm256_mul_ps(_mm256_load_ps(scales + g * kPanelRows),
                                           _mm256_set1_ps(x.scales(token + t)[g * x.scale_step()]));
        value[t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(d[t]), scale, value[t]);
      } else {
        total[t] = _mm256_add_epi32(total[t], _mm256_mullo_epi32(d[t], fine.scale));
      }
    }
  }
  for (int t = 0; t < T && t < live; ++t) {
    if constexpr (kind != PanelKind::group) {
      value[t] = _mm256_mul_ps(_mm256_cvtepi32_ps(total[t]), _mm256_load_ps(scales));
      value[t] = _mm256_mul_ps(value[t], _mm256_set1_ps(x.scales(token + t)[0]));
    }
    store(task, panel * kPanelRows + first_row, token + t, value[t]);
  }
}

template <class Dot, PanelKind kind, int bits>
void half_panels(const PanelTask& task, const PanelRange& range) {
  const auto kernel = task.x.block_tokens() == 1 ? half_panel<Dot, kind, bits, 1> : half_panel<Dot, kind, bits, 4>;
  const std::int64_t tokens = task.x.block_tokens();
  for (std::int64_t p = range.first_panel; p < range.last_panel; ++p) {
    for (int half = 0; half < 2 && p * kPanelRows + half * kHalfRows < task.w.rows(); ++half) {
      for (std::int64_t t = range.first_token; t < range.last_token; t += tokens)
        kernel(task, p, half, t, range.last_token - t);
    }
  }
}

}  // namespace
}  // namespace vernier::kernels
