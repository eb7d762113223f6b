// SDOT takes signed bytes: codes of at most 6 bits are such as they are, bytes after 128 is taken away.
#define VN_TARGET_NEON __attribute__((target("arch=armv8.2-a+dotprod")))
#include "kernels/panel/neon.h"

namespace vernier::kernels {
namespace {

struct SignedQuads {
  template <int bits>
  static constexpr int kBias = bits == 8 ? 128 : 0;

  template <int bits, int T, int quad = 0>
  static VN_INLINE_NEON void add_step(const std::uint8_t* step, const std::int8_t* x, ChunkSums<T> (&sum)[kChunks]) {
    const int8x16_t tokens = vld1q_s8(T == 1 ? x + quad / 4 * 16 : x + quad * 16);
    for (int c = 0; c < kChunks; ++c) {
      uint8x16_t codes = operand<bits, quad>(step, c);
      if constexpr (bits == 8) codes = veorq_u8(codes, vdupq_n_u8(128));
      const int8x16_t w = vreinterpretq_s8_u8(codes);
      if constexpr (T == 1) {
        sum[c][0] = vdotq_laneq_s32(sum[c][0], w, tokens, quad % 4);
      } else {
        sum[c][0] = vdotq_laneq_s32(sum[c][0], w, tokens, 0);
        sum[c][1] = vdotq_laneq_s32(sum[c][1], w, tokens, 1);
        sum[c][2] = vdotq_laneq_s32(sum[c][2], w, tokens, 2);
        sum[c][3] = vdotq_laneq_s32(sum[c][3], w, tokens, 3);
      }
    }
    if constexpr (quad + 1 < kQuads) add_step<bits, T, quad + 1>(step, x, sum);
  }

  template <int T>
  static VN_INLINE_NEON void in_rows(ChunkSums<T>&) {}
};

}  // namespace

void panels_neon_dot(const PanelTask& task, const PanelRange& range) {
  by_kind_and_bits(task.w.spec(),
                   [&]<PanelKind kind, int bits>() { whole_panels<SignedQuads, kind, bits>(task, range); });
}

}  // namespace vernier::kernels
