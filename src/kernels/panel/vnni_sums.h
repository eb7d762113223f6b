// Integer sums `c` [token][2 panels][16] of a pair of panels, for dual and plain matrices.
#pragma once

#include <algorithm>

#include "kernels/panel/vnni_expand.h"
#include "kernels/scratch.h"

namespace vernier::kernels {

// c += operands times codes of T tokens, over `count` operands of 4 bytes. Four tokens lie side by side in x, the next
// four `block_bytes` on; the next operand is `unit` bytes on. With `words`, operands are pairs of 16-bit numbers: minus
// zero points against sums of groups.
template <int T, bool words, int unit>
VN_TARGET_VNNI void accumulate(const void* operands, const void* x, std::int64_t block_bytes, std::int64_t count,
                               std::int32_t* c) {
  const auto* w = static_cast<const std::uint8_t*>(operands);
  const std::uint8_t* codes[T / 4];
  for (int b = 0; b < T / 4; ++b) codes[b] = static_cast<const std::uint8_t*>(x) + b * block_bytes;
  __m512i sum[T][2];
#pragma GCC unroll 12
  for (int t = 0; t < T; ++t) {
    sum[t][0] = _mm512_load_si512(c + t * kPairLanes);
    sum[t][1] = _mm512_load_si512(c + t * kPairLanes + kPanelRows);
  }
  for (std::int64_t i = 0; i < count; ++i, w += kOperandBytes) {
    const __m512i w0 = _mm512_load_si512(w), w1 = _mm512_load_si512(w + kLineBytes);
#pragma GCC unroll 12
    for (int t = 0; t < T; ++t) {
      const __m512i v = broadcast(codes[t / 4] + i * unit + t % 4 * 4);
      if constexpr (words) {
        sum[t][0] = _mm512_dpwssd_epi32(sum[t][0], w0, v);
        sum[t][1] = _mm512_dpwssd_epi32(sum[t][1], w1, v);
      } else {
        sum[t][0] = _mm512_dpbusd_epi32(sum[t][0], w0, v);
        sum[t][1] = _mm512_dpbusd_epi32(sum[t][1], w1, v);
      }
    }
  }
#pragma GCC unroll 12
  for (int t = 0; t < T; ++t) {
    _mm512_store_si512(c + t * kPairLanes, sum[t][0]);
    _mm512_store_si512(c + t * kPairLanes + kPanelRows, sum[t][1]);
  }
}

// c = minus the zero points' share of a plain matrix.
VN_TARGET_VNNI inline void start_plain(const PanelTask& task, const Pair& pair, std::int64_t token, std::int64_t tokens,
                                       std::int32_t* c) {
  for (int side = 0; side < 2; ++side) {
    const __m512i zero = widen(task.w.integers(pair.panel[side]));
    for (std::int64_t t = 0; t < tokens; ++t) {
      const __m512i share = _mm512_mullo_epi32(zero, _mm512_set1_epi32(task.x.total(token + t)));
      _mm512_store_si512(c + t * kPairLanes + side * kPanelRows, _mm512_sub_epi32(_mm512_setzero_si512(), share));
    }
  }
}

// Operands [pair of groups][2 panels][64] whose product with the pairs of sums is minus the zero points' share of a
// dual matrix. Valid until this worker's next call.
template <PanelKind kind, int bits>
VN_TARGET_VNNI const std::uint8_t* zero_operands(const PanelMatrix& w, const Pair& pair) {
  static thread_local Scratch<std::uint8_t> scratch;
  const std::int64_t pairs = (w.groups() + 1) / 2;
  std::uint8_t* operands = scratch.get(pairs * kOperandBytes);
  for (int side = 0; side < 2; ++side) {
    const std::uint8_t* integers = w.integers(pair.panel[side]);
    for (std::int64_t p = 0; p < pairs; ++p) {
      __m512i both = _mm512_setzero_si512();
      for (std::int64_t g = 2 * p; g < std::min(w.groups(), 2 * p + 2); ++g) {
        const FineLanes fine = fine_lanes<kind, bits>(integers + g * integer_bytes({kind, bits}));
        both = _mm512_or_si512(both, minus_zero(_mm512_mullo_epi16(fine.scale, fine.zero), g));
      }
      _mm512_store_si512(operands + p * kOperandBytes + side * kLineBytes, both);
    }
  }
  return operands;
}

}  // namespace vernier::kernels
