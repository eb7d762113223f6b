// Products of one panel in registers of 128 bits: a line is four of them, each 4 rows x 4 columns. The file that
// includes this defines VN_TARGET_NEON, the attribute of its instruction set, and a class with
//   add_step<bits, T>(step, x, sum): adds a step's codes times those of T tokens to sums in an order of its own;
//   in_rows<T>(sum): brings the sums of 4 rows into the order sum[t] = 4 rows of token t;
//   kBias<bits>: what its operands are below the codes.
#pragma once

#include <arm_neon.h>

#include <algorithm>

#include "kernels/isa.h"
#include "kernels/panel/kernels.h"

#define VN_INLINE_NEON VN_TARGET_NEON VN_INLINE

namespace vernier::kernels {
namespace {

constexpr int kChunks = kLineBytes / 16;  // registers of a line
constexpr int kChunkRows = 4;
constexpr int kQuads = kStepCols / 4;

template <int T>
using ChunkSums = int32x4_t[T];

// Operand `quad` of a step: byte 4 * row + j is the code of column 4 * quad + j, of the chunk's four rows.
template <int bits, int quad>
VN_INLINE_NEON uint8x16_t operand(const std::uint8_t* step, int chunk) {
  const std::uint8_t* const line = step + chunk * 16;
  if constexpr (bits == 8) return vld1q_u8(line + quad * kLineBytes);
  if constexpr (bits == 4) {
    const uint8x16_t pair = vld1q_u8(line + quad / 2 * kLineBytes);
    return quad % 2 ? vshrq_n_u8(pair, 4) : vandq_u8(pair, vdupq_n_u8(15));
  }
  if constexpr (bits == 6) {
    const uint8x16_t top = vshlq_u8(vld1q_u8(line + (4 + quad / 4) * kLineBytes), vdupq_n_s8(4 - quad % 4 * 2));
    return vorrq_u8(operand<4, quad>(step, chunk), vandq_u8(top, vdupq_n_u8(48)));
  }
  const uint8x16_t shifted = vshlq_u8(vld1q_u8(line + quad / 4 * kLineBytes), vdupq_n_s8(-(quad % 4 * 2)));
  const uint8x16_t low = vandq_u8(shifted, vdupq_n_u8(3));
  if constexpr (bits == 2) return low;
  const uint8x16_t top = vshlq_u8(vld1q_u8(line + 2 * kLineBytes), vdupq_n_s8(2 - quad));
  return vorrq_u8(low, vandq_u8(top, vdupq_n_u8(4)));
}

VN_INLINE_NEON int32x4_t widen(const std::uint8_t* bytes) {
  const std::int32_t lanes[kChunkRows] = {bytes[0], bytes[1], bytes[2], bytes[3]};
  return vld1q_s32(lanes);
}

struct FineLanes {
  int32x4_t scale, zero;
};
template <PanelKind kind, int bits>
VN_INLINE_NEON FineLanes fine_lanes(const std::uint8_t* integers) {
  const int32x4_t first = widen(integers);
  if constexpr (kind != PanelKind::dual) return {vdupq_n_s32(1), first};
  if constexpr (bits == 4) return {vandq_s32(first, vdupq_n_s32(15)), vshrq_n_s32(first, 4)};
  return {first, widen(integers + kPanelRows)};
}

VN_INLINE_NEON void store(const PanelTask& task, std::int64_t row, std::int64_t token, float32x4_t value) {
  float lanes[kChunkRows];
  vst1q_f32(lanes, value);
  const std::int64_t live = std::min<std::int64_t>(kChunkRows, task.w.rows() - row);
  for (std::int64_t i = 0; i < live; ++i)
    task.y(token, row + i) = task.bias.empty() ? lanes[i] : lanes[i] + task.bias[row + i];
}

// One panel, T tokens from `token` (tokens beyond `live` are padding of the block).
template <class Dot, PanelKind kind, int bits, int T>
VN_TARGET_NEON void whole_panel(const PanelTask& task, std::int64_t panel, std::int64_t token, std::int64_t live) {
  const PanelMatrix& w = task.w;
  const QuantizedRows& x = task.x;
  const std::uint8_t* step = w.codes(panel);
  const float* scales = w.scales(panel);
  const std::int8_t* codes = x.codes(token);
  const std::int32_t* sums = x.sum_pairs(token);
  ChunkSums<T> total[kChunks];
  float32x4_t value[kChunks][T];
  for (int c = 0; c < kChunks; ++c)
    for (int t = 0; t < T; ++t) total[c][t] = vdupq_n_s32(0), value[c][t] = vdupq_n_f32(0);
  for (std::int64_t g = 0; g < w.groups(); ++g) {
    ChunkSums<T> d[kChunks];
    for (int c = 0; c < kChunks; ++c)
      for (int t = 0; t < T; ++t) d[c][t] = vdupq_n_s32(0);
    for (std::int64_t k = 0; k < w.group_cols(); k += kStepCols, step += bits * kLineBytes, codes += kStepCols * T)
      Dot::template add_step<bits, T>(step, codes, d);
    for (int c = 0; c < kChunks; ++c) {
      Dot::template in_rows<T>(d[c]);
      const FineLanes fine =
          fine_lanes<kind, bits>(w.integers(panel) + g * integer_bytes({kind, bits}) + c * kChunkRows);
      const int32x4_t zero = vsubq_s32(fine.zero, vdupq_n_s32(Dot::template kBias<bits>));
      for (int t = 0; t < T; ++t) {
        const std::int32_t sum = kind == PanelKind::plain
                                     ? x.total(token + t)
                                     : static_cast<std::int16_t>(sums[g / 2 * T + t] >> (g % 2 * 16) & 0xFFFF);
        const int32x4_t centred = vmlsq_s32(d[c][t], zero, vdupq_n_s32(sum));
        if constexpr (kind == PanelKind::group) {
          const float32x4_t scale =
              vmulq_n_f32(vld1q_f32(scales + g * kPanelRows + c * kChunkRows), x.scales(token + t)[g * x.scale_step()]);
          value[c][t] = vfmaq_f32(value[c][t], vcvtq_f32_s32(centred), scale);
        } else {
          total[c][t] = vmlaq_s32(total[c][t], centred, fine.scale);
        }
      }
    }
  }
  for (int c = 0; c < kChunks && panel * kPanelRows + c * kChunkRows < w.rows(); ++c) {
    for (int t = 0; t < T && t < live; ++t) {
      if constexpr (kind != PanelKind::group) {
        value[c][t] = vmulq_f32(vcvtq_f32_s32(total[c][t]), vld1q_f32(scales + c * kChunkRows));
        value[c][t] = vmulq_n_f32(value[c][t], x.scales(token + t)[0]);
      }
      store(task, panel * kPanelRows + c * kChunkRows, token + t, value[c][t]);
    }
  }
}

template <class Dot, PanelKind kind, int bits>
void whole_panels(const PanelTask& task, const PanelRange& range) {
  const std::int64_t tokens = task.x.block_tokens();  // 1 or 4
  const auto kernel = tokens == 1 ? whole_panel<Dot, kind, bits, 1> : whole_panel<Dot, kind, bits, 4>;
  for (std::int64_t p = range.first_panel; p < range.last_panel; ++p)
    for (std::int64_t t = range.first_token; t < range.last_token; t += tokens)
      kernel(task, p, t, range.last_token - t);
}

}  // namespace
}  // namespace vernier::kernels
