// Many tokens: a pair of panels is expanded to one byte a weight, a chunk of columns at a time, and all tokens of the
// piece pass over the chunk in register tiles. Sums wait in `c` [token][2 panels][16] between chunks.
#include <algorithm>

#include "kernels/panel/vnni_expand.h"
#include "kernels/panel/vnni_sums.h"
#include "kernels/scratch.h"

namespace vernier::kernels {
namespace {

// c += operands times the codes of all tokens, or with `words` the sums of their groups.
template <bool words>
void accumulate_all(const void* operands, const void* x, std::int64_t block_bytes, std::int64_t count,
                    std::int64_t tokens, std::int32_t* c) {
  for_tiles(tokens, [&](int tile, std::int64_t at) {
    const void* from = static_cast<const std::uint8_t*>(x) + at / 4 * block_bytes;
    (tile == 12  ? accumulate<12, words, 16>
     : tile == 8 ? accumulate<8, words, 16>
                 : accumulate<4, words, 16>)(operands, from, block_bytes, count, c + at * kPairLanes);
  });
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
    if constexpr (kind == PanelKind::plain) {
      start_plain(task, pair, token, tokens, c);
    } else {
      const std::uint8_t* zeros = zero_operands<kind, bits>(w, pair);
      std::fill_n(c, tokens * kPairLanes, 0);
      accumulate_all<true>(zeros, x.sum_pairs(token), x.pairs() * 16, x.pairs(), tokens, c);
    }
    for (std::int64_t k = 0; k < w.padded_cols(); k += kChunkCols) {
      const std::int64_t end = std::min(w.padded_cols(), k + kChunkCols);
      for (int side = 0; side < 2; ++side)
        expand<kind, bits>(w, pair.panel[side], k / kStepCols, end / kStepCols, operands + side * kLineBytes);
      accumulate_all<false>(operands, x.codes(token) + k * 4, x.block_bytes(), (end - k) / 4, tokens, c);
    }
    finish(task, p, range.last_panel, token, live, c);
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
