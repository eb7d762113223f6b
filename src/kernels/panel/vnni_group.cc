// Many tokens on float scales per group: as vnni_tile.cc, with integer sums that end at each group. Float sums wait in
// `c` [token][2 panels][16] between chunks.
#include <algorithm>

#include "kernels/panel/vnni_expand.h"
#include "kernels/scratch.h"

namespace vernier::kernels {
namespace {

// What a register tile reads of the matrix: a chunk of whole groups of two panels.
struct Chunk {
  const std::uint8_t* operands;  // [column / 4][2 panels][64]
  const float* scales[2];        // [group][16] of each panel, from the chunk's first group on
  const std::uint8_t* zeros[2];  // likewise
  std::int64_t first_group, groups, group_operands;
};

// Adds the chunk's groups to c for T tokens, of which the first is number `slot` of a block of 4.
template <int T, int slot>
VN_TARGET_VNNI void accumulate(const Chunk& chunk, const QuantizedRows& x, std::int64_t token, float* c) {
  constexpr int blocks = (slot + T + 3) / 4;
  const std::int8_t* codes[blocks];
  const std::int32_t* sums[blocks];
  for (int b = 0; b < blocks; ++b) {
    codes[b] = x.codes(token + 4 * b - slot) + chunk.first_group * chunk.group_operands * 16;
    sums[b] = x.sum_pairs(token + 4 * b - slot);
  }
  __m512 value[T][2];
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) {
    value[t][0] = _mm512_load_ps(c + t * kPairLanes);
    value[t][1] = _mm512_load_ps(c + t * kPairLanes + kPanelRows);
  }
  const std::uint8_t* w = chunk.operands;
  std::int64_t at = 0;
  for (std::int64_t i = 0; i < chunk.groups; ++i) {
    const std::int64_t g = chunk.first_group + i;
    const __m512i minus0 = minus_zero(widen(chunk.zeros[0] + i * kPanelRows), g);
    const __m512i minus1 = minus_zero(widen(chunk.zeros[1] + i * kPanelRows), g);
    __m512i sum[T][2];
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
      const __m512i pair = broadcast(sums[(slot + t) / 4] + g / 2 * 4 + (slot + t) % 4);
      sum[t][0] = _mm512_dpwssd_epi32(_mm512_setzero_si512(), minus0, pair);
      sum[t][1] = _mm512_dpwssd_epi32(_mm512_setzero_si512(), minus1, pair);
    }
    for (std::int64_t end = at + chunk.group_operands * 16; at < end; at += 16, w += kOperandBytes) {
      const __m512i w0 = _mm512_load_si512(w), w1 = _mm512_load_si512(w + kLineBytes);
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t) {
        const __m512i v = broadcast(codes[(slot + t) / 4] + at + (slot + t) % 4 * 4);
        sum[t][0] = _mm512_dpbusd_epi32(sum[t][0], w0, v);
        sum[t][1] = _mm512_dpbusd_epi32(sum[t][1], w1, v);
      }
    }
    const __m512 scale0 = _mm512_load_ps(chunk.scales[0] + i * kPanelRows);
    const __m512 scale1 = _mm512_load_ps(chunk.scales[1] + i * kPanelRows);
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
      const __m512 scale = _mm512_set1_ps(x.scales(token + t)[g * x.scale_step()]);
      value[t][0] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[t][0]), _mm512_mul_ps(scale0, scale), value[t][0]);
      value[t][1] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[t][1]), _mm512_mul_ps(scale1, scale), value[t][1]);
    }
  }
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) {
    _mm512_store_ps(c + t * kPairLanes, value[t][0]);
    _mm512_store_ps(c + t * kPairLanes + kPanelRows, value[t][1]);
  }
}

template <int bits>
VN_TARGET_VNNI void tile(const PanelTask& task, const PanelRange& range) {
  static thread_local Scratch<std::uint8_t> operand_scratch;
  static thread_local Scratch<float> sum_scratch;
  const PanelMatrix& w = task.w;
  const std::int64_t token = range.first_token, live = range.last_token - token, tokens = round_up(live, 4);
  const std::int64_t group = w.group_cols(), chunk_groups = kChunkCols / group;
  std::uint8_t* operands = operand_scratch.get(kChunkCols / 4 * kOperandBytes);
  float* c = sum_scratch.get(tokens * kPairLanes);
  for (std::int64_t p = range.first_panel; p < range.last_panel; p += 2) {
    const Pair pair{{p, std::min(p + 1, range.last_panel - 1)}};
    std::fill_n(c, tokens * kPairLanes, 0.0f);
    for (std::int64_t g = 0; g < w.groups(); g += chunk_groups) {
      Chunk chunk{operands, {}, {}, g, std::min(chunk_groups, w.groups() - g), group / 4};
      const std::int64_t first_step = g * group / kStepCols, steps = chunk.groups * group / kStepCols;
      for (int side = 0; side < 2; ++side) {
        const std::int64_t panel = pair.panel[side];
        chunk.scales[side] = w.scales(panel) + g * kPanelRows;
        chunk.zeros[side] = w.integers(panel) + g * kPanelRows;
        expand<PanelKind::group, bits>(w, panel, first_step, first_step + steps, operands + side * kLineBytes);
      }
      for_tiles(tokens, [&](int tile, std::int64_t at) {
        if (tile == 12) {
          accumulate<6, 0>(chunk, task.x, token + at, c + at * kPairLanes);
          accumulate<6, 2>(chunk, task.x, token + at + 6, c + (at + 6) * kPairLanes);
          return;
        }
        for (const std::int64_t end = at + tile; at < end; at += 4)
          accumulate<4, 0>(chunk, task.x, token + at, c + at * kPairLanes);
      });
    }
    finish(task, p, range.last_panel, token, live, c);
  }
}

}  // namespace

void tile_group_vnni(const PanelTask& task, const PanelRange& range) {
  const int bits = task.w.spec().bits;
  (bits == 8 ? tile<8> : bits == 6 ? tile<6> : bits == 4 ? tile<4> : bits == 3 ? tile<3> : tile<2>)(task, range);
}

}  // namespace vernier::kernels
