// Many tokens: a pair of panels is expanded to one byte a weight, a chunk of columns at a time, and all tokens of the
// piece pass over the chunk in register tiles. Sums wait in `c` [token][2 panels][16] between chunks.
#include <algorithm>

#include "kernels/panel/vnni_expand.h"
#include "kernels/scratch.h"

namespace vernier::kernels {
namespace {

// c += operands times codes of T tokens (whole blocks of 4), over `count` operands of 4 bytes. With `words`, operands
// are pairs of 16-bit numbers: minus zero points against sums of groups.
template <int T, bool words>
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
      const __m512i v = broadcast(codes[t / 4] + i * 16 + t % 4 * 4);
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

template <bool words>
void accumulate_all(const void* operands, const void* x, std::int64_t block_bytes, std::int64_t count,
                    std::int64_t tokens, std::int32_t* c) {
  for_tiles(tokens, [&](int tile, std::int64_t at) {
    const void* from = static_cast<const std::uint8_t*>(x) + at / 4 * block_bytes;
    (tile == 12  ? accumulate<12, words>
     : tile == 8 ? accumulate<8, words>
                 : accumulate<4, words>)(operands, from, block_bytes, count, c + at * kPairLanes);
  });
}

// c = minus the zero points' share.
template <PanelKind kind, int bits>
VN_TARGET_VNNI void start(const PanelTask& task, const Pair& pair, std::int64_t token, std::int64_t tokens,
                          std::int32_t* c) {
  const QuantizedRows& x = task.x;
  if constexpr (kind == PanelKind::plain) {
    for (int side = 0; side < 2; ++side) {
      const __m512i zero = widen(task.w.integers(pair.panel[side]));
      for (std::int64_t t = 0; t < tokens; ++t) {
        const __m512i share = _mm512_mullo_epi32(zero, _mm512_set1_epi32(x.total(token + t)));
        _mm512_store_si512(c + t * kPairLanes + side * kPanelRows, _mm512_sub_epi32(_mm512_setzero_si512(), share));
      }
    }
    return;
  }
  static thread_local Scratch<std::uint8_t> scratch;
  std::uint8_t* operands = scratch.get(x.pairs() * kOperandBytes);
  for (int side = 0; side < 2; ++side) {
    const std::uint8_t* integers = task.w.integers(pair.panel[side]);
    for (std::int64_t p = 0; p < x.pairs(); ++p) {
      __m512i both = _mm512_setzero_si512();
      for (std::int64_t g = 2 * p; g < std::min(task.w.groups(), 2 * p + 2); ++g) {
        const FineLanes fine = fine_lanes<kind, bits>(integers + g * integer_bytes({kind, bits}));
        both = _mm512_or_si512(both, minus_zero(_mm512_mullo_epi16(fine.scale, fine.zero), g));
      }
      _mm512_store_si512(operands + p * kOperandBytes + side * kLineBytes, both);
    }
  }
  std::fill_n(c, tokens * kPairLanes, 0);
  accumulate_all<true>(operands, x.sum_pairs(token), x.pairs() * 16, x.pairs(), tokens, c);
}

template <PanelKind kind, int bits>
VN_TARGET_VNNI void tile(const PanelTask& task, const PanelRange& range) {
  static thread_local Scratch<std::uint8_t> operand_scratch;
  static thread_local Scratch<std::int32_t> sum_scratch;
  const PanelMatrix& w = task.w;
  const QuantizedRows& x = task.x;
  const std::int64_t token = range.first_token, live = range.last_token - token, tokens = round_up(live, 4);
  std::uint8_t* operands = operand_scratch.get(kChunkCols / 4 * kOperandBytes);
  std::int32_t* c = sum_scratch.get(tokens * kPairLanes);
  for (std::int64_t p = range.first_panel; p < range.last_panel; p += 2) {
    const Pair pair{{p, std::min(p + 1, range.last_panel - 1)}};
    start<kind, bits>(task, pair, token, tokens, c);
    for (std::int64_t k = 0; k < w.padded_cols(); k += kChunkCols) {
      const std::int64_t end = std::min(w.padded_cols(), k + kChunkCols);
      for (int side = 0; side < 2; ++side)
        expand<kind, bits>(w, pair.panel[side], k / kStepCols, end / kStepCols, operands + side * kLineBytes);
      accumulate_all<false>(operands, x.codes(token) + k * 4, x.block_bytes(), (end - k) / 4, tokens, c);
    }
    for (std::int64_t t = 0; t < live; ++t) {
      for (std::int64_t q = p; q < std::min(p + 2, range.last_panel); ++q)
        store_scaled(task, q, token + t, _mm512_load_si512(c + t * kPairLanes + (q - p) * kPanelRows));
    }
  }
}

}  // namespace

void tile_vnni(const PanelTask& task, const PanelRange& range) {
  by_kind_and_bits(task.w.spec(), [&]<PanelKind kind, int bits>() {
    if constexpr (kind == PanelKind::group)
      tile_group_vnni(task, range);
    else
      tile<kind, bits>(task, range);
  });
}

}  // namespace vernier::kernels
