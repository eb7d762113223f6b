// USDOT and USMMLA take unsigned codes and signed activations as they are. One token: dot products of four. Four
// tokens: products of 2 rows x 8 columns with 2 tokens x 8 columns, for which two quads are put side by side.
#define VN_TARGET_NEON __attribute__((target("arch=armv8.2-a+dotprod+i8mm")))
#include "kernels/panel/neon.h"

namespace vernier::kernels {
namespace {

struct Blocks {
  template <int bits>
  static constexpr int kBias = 0;

  template <int bits, int T, int quad = 0>
  static VN_INLINE_NEON void add_step(const std::uint8_t* step, const std::int8_t* x, ChunkSums<T> (&sum)[kChunks]) {
    if constexpr (T == 1) {
      const int8x16_t four = vld1q_s8(x + quad / 4 * 16);
      for (int c = 0; c < kChunks; ++c) {
        sum[c][0] = vusdotq_laneq_s32(sum[c][0], operand<bits, quad>(step, c), four, quad % 4);
        sum[c][0] = vusdotq_laneq_s32(sum[c][0], operand<bits, quad + 1>(step, c), four, quad % 4 + 1);
      }
    } else {
      const int32x4_t first = vreinterpretq_s32_s8(vld1q_s8(x + quad * 16));
      const int32x4_t second = vreinterpretq_s32_s8(vld1q_s8(x + quad * 16 + 16));
      const int8x16_t tokens01 = vreinterpretq_s8_s32(vzip1q_s32(first, second));
      const int8x16_t tokens23 = vreinterpretq_s8_s32(vzip2q_s32(first, second));
      for (int c = 0; c < kChunks; ++c) {
        const uint32x4_t left = vreinterpretq_u32_u8(operand<bits, quad>(step, c));
        const uint32x4_t right = vreinterpretq_u32_u8(operand<bits, quad + 1>(step, c));
        const uint8x16_t rows01 = vreinterpretq_u8_u32(vzip1q_u32(left, right));
        const uint8x16_t rows23 = vreinterpretq_u8_u32(vzip2q_u32(left, right));
        sum[c][0] = vusmmlaq_s32(sum[c][0], rows01, tokens01);
        sum[c][1] = vusmmlaq_s32(sum[c][1], rows23, tokens01);
        sum[c][2] = vusmmlaq_s32(sum[c][2], rows01, tokens23);
        sum[c][3] = vusmmlaq_s32(sum[c][3], rows23, tokens23);
      }
    }
    if constexpr (quad + 2 < kQuads) add_step<bits, T, quad + 2>(step, x, sum);
  }

  // A block's lanes are row 0 token 0, row 0 token 1, row 1 token 0, row 1 token 1.
  template <int T>
  static VN_INLINE_NEON void in_rows(ChunkSums<T>& sum) {
    if constexpr (T == 4) {
      for (int pair = 0; pair < 4; pair += 2) {
        const int32x4_t rows01 = sum[pair], rows23 = sum[pair + 1];
        sum[pair] = vuzp1q_s32(rows01, rows23);
        sum[pair + 1] = vuzp2q_s32(rows01, rows23);
      }
    }
  }
};

}  // namespace

void panels_neon_i8mm(const PanelTask& task, const PanelRange& range) {
  by_kind_and_bits(task.w.spec(), [&]<PanelKind kind, int bits>() { whole_panels<Blocks, kind, bits>(task, range); });
}

}  // namespace vernier::kernels
