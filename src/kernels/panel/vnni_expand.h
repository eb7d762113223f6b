// Panels expanded to one byte a weight, two panels side by side, for kernels that pass many tokens over them.
#pragma once

#include <algorithm>

#include "kernels/panel/vnni.h"

namespace vernier::kernels {

inline constexpr std::int64_t kChunkCols = 512;  // the bytes of a chunk fill half of a first-level cache of 32 KB
inline constexpr std::int64_t kPairLanes = 2 * kPanelRows;
inline constexpr std::int64_t kOperandBytes = 2 * kLineBytes;  // of both panels, for 4 columns

struct Pair {
  std::int64_t panel[2];  // the same twice where the last panel is alone
};

template <PanelKind kind, int bits, int quad = 0>
VN_INLINE_VNNI void expand_step(const std::uint8_t* step, __m512i scale16, std::uint8_t* out) {
  __m512i w = operand<bits, quad>(step);
  if constexpr (kind == PanelKind::dual) w = _mm512_mullo_epi16(w, scale16);
  _mm512_store_si512(out + quad * kOperandBytes, w);
  if constexpr (quad + 1 < kQuads) expand_step<kind, bits, quad + 1>(step, scale16, out);
}

// Rows of operands [k / 4][2 panels][64] from steps [first, last) of one panel's codes; with dual, times s.
template <PanelKind kind, int bits>
VN_TARGET_VNNI inline void expand(const PanelMatrix& w, std::int64_t panel, std::int64_t first, std::int64_t last,
                                  std::uint8_t* out) {
  const std::int64_t group_steps = w.group_cols() / kStepCols;
  const std::uint8_t* step = w.codes(panel) + first * bits * kLineBytes;
  for (std::int64_t s = first; s < last;) {
    const std::int64_t g = s / group_steps, end = std::min(last, (g + 1) * group_steps);
    const __m512i scale = fine_lanes<kind, bits>(w.integers(panel) + g * integer_bytes({kind, bits})).scale;
    // s in both 16-bit halves of a lane: s * q of a low byte never carries into the high one.
    const __m512i scale16 = _mm512_or_si512(scale, _mm512_slli_epi32(scale, 16));
    for (; s < end; ++s, step += bits * kLineBytes, out += kQuads * kOperandBytes) {
      expand_step<kind, bits>(step, scale16, out);
    }
  }
}

// y of `live` tokens and of the panels of the pair that starts at `panel`, from sums [token][2 panels][16].
VN_TARGET_VNNI inline void finish(const PanelTask& task, std::int64_t panel, std::int64_t last_panel,
                                  std::int64_t token, std::int64_t live, const std::int32_t* c) {
  for (std::int64_t t = 0; t < live; ++t) {
    for (std::int64_t p = panel; p < std::min(panel + 2, last_panel); ++p)
      store_scaled(task, p, token + t, _mm512_load_si512(c + t * kPairLanes + (p - panel) * kPanelRows));
  }
}
VN_TARGET_VNNI inline void finish(const PanelTask& task, std::int64_t panel, std::int64_t last_panel,
                                  std::int64_t token, std::int64_t live, const float* c) {
  for (std::int64_t t = 0; t < live; ++t) {
    for (std::int64_t p = panel; p < std::min(panel + 2, last_panel); ++p)
      store(task, p, token + t, _mm512_load_ps(c + t * kPairLanes + (p - panel) * kPanelRows));
  }
}

// Tokens in tiles of 12, the rest in 8 and 4: body(tile, offset).
template <class Body>
void for_tiles(std::int64_t tokens, Body body) {
  std::int64_t blocks = round_up(tokens, 4) / 4, at = 0;
  for (; blocks >= 5 || blocks == 3; blocks -= 3, at += 12) body(12, at);
  for (; blocks >= 2; blocks -= 2, at += 8) body(8, at);
  if (blocks == 1) body(4, at);
}

}  // namespace vernier::kernels
