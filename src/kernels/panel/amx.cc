// AMX: a tile of 16 tokens x 64 columns (signed) times 16 operands of one panel (unsigned) adds to a tile of 16 x 16
// sums. Operands are what vnni_expand.h makes; two token tiles by two panels share their loads. Integers only, so the
// bits are those of every other path.
#include <algorithm>

#include "kernels/panel/vnni_expand.h"
#include "kernels/panel/vnni_sums.h"
#include "kernels/scratch.h"

#define VN_TARGET_AMX \
  __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c,amx-tile,amx-int8")))

namespace vernier::kernels {
namespace {

constexpr std::int64_t kTileTokens = 16;
constexpr std::int64_t kTileBytes = 1024;            // of a full tile of tokens
constexpr std::int64_t kTileChunkCols = 1024;        // both panels' bytes of a chunk are 32 KB
constexpr std::int64_t kSumStride = kPairLanes * 4;  // bytes

// The compiler knows nothing of what tile instructions read and write: it must keep no store back.
inline void settle() { asm volatile("" ::: "memory"); }

// Tiles 0..3 are sums, 4 and 5 tokens, 6 and 7 operands; `cols` columns (64 or 32) per product.
class Tiles {
 public:
  VN_TARGET_AMX explicit Tiles(int cols) {
    alignas(64) Config config{};
    config.palette = 1;
    for (int i = 0; i < 4; ++i) config.rows[i] = kTileTokens, config.row_bytes[i] = 64;
    for (int i = 4; i < 6; ++i) config.rows[i] = kTileTokens, config.row_bytes[i] = static_cast<std::uint16_t>(cols);
    for (int i = 6; i < 8; ++i) config.rows[i] = static_cast<std::uint8_t>(cols / 4), config.row_bytes[i] = 64;
    asm volatile("" ::"r"(&config) : "memory");
    _tile_loadconfig(&config);
  }
  VN_TARGET_AMX ~Tiles() { _tile_release(); }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;

 private:
  struct Config {
    std::uint8_t palette, start_row, reserved[14];
    std::uint16_t row_bytes[16];
    std::uint8_t rows[16];
  };
};

// Columns [first, last) of two panels as operands, for the codes of up to two blocks of tokens.
struct Product {
  const std::uint8_t* operands;
  std::int64_t first, last;
  int cols;  // per tile
};

// sums += products, or = products with `fresh`; for token blocks at `a` and, with two, `a + block_bytes`.
template <int blocks, bool fresh>
VN_TARGET_AMX void multiply(const Product& p, const std::int8_t* a, std::int64_t block_bytes, std::int32_t* sums) {
  std::int32_t* second = sums + kTileTokens * kPairLanes;
  settle();
  if constexpr (fresh) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  } else {
    _tile_loadd(0, sums, kSumStride);
    _tile_loadd(1, sums + kPanelRows, kSumStride);
    if constexpr (blocks == 2) {
      _tile_loadd(2, second, kSumStride);
      _tile_loadd(3, second + kPanelRows, kSumStride);
    }
  }
  const std::uint8_t* w = p.operands;
  for (std::int64_t k = p.first; k < p.last; k += p.cols, w += p.cols / 4 * kOperandBytes) {
    const std::int8_t* tokens = a + k / 64 * kTileBytes + k % 64;
    _tile_loadd(6, w, kOperandBytes);
    _tile_loadd(4, tokens, 64);
    _tile_dpbsud(0, 4, 6);
    _tile_loadd(7, w + kLineBytes, kOperandBytes);
    _tile_dpbsud(1, 4, 7);
    if constexpr (blocks == 2) {
      _tile_loadd(5, tokens + block_bytes, 64);
      _tile_dpbsud(2, 5, 6);
      _tile_dpbsud(3, 5, 7);
    }
  }
  _tile_stored(0, sums, kSumStride);
  _tile_stored(1, sums + kPanelRows, kSumStride);
  if constexpr (blocks == 2) {
    _tile_stored(2, second, kSumStride);
    _tile_stored(3, second + kPanelRows, kSumStride);
  }
  settle();
}

template <PanelKind kind, int bits>
VN_TARGET_AMX void tile(const PanelTask& task, const PanelRange& range) {
  static thread_local Scratch<std::uint8_t> operand_scratch;
  static thread_local Scratch<std::int32_t> sum_scratch;
  const PanelMatrix& w = task.w;
  const QuantizedRows& x = task.x;
  const std::int64_t token = range.first_token, live = range.last_token - token, tokens = round_up(live, kTileTokens);
  std::uint8_t* operands = operand_scratch.get(kTileChunkCols / 4 * kOperandBytes);
  std::int32_t* c = sum_scratch.get(tokens * kPairLanes);
  const Tiles tiles(64);
  for (std::int64_t p = range.first_panel; p < range.last_panel; p += 2) {
    const Pair pair{{p, std::min(p + 1, range.last_panel - 1)}};
    if constexpr (kind == PanelKind::plain) {
      start_plain(task, pair, token, tokens, c);
    } else {
      const std::uint8_t* zeros = zero_operands<kind, bits>(w, pair);
      std::fill_n(c, tokens * kPairLanes, 0);
      for (std::int64_t t = 0; t < tokens; t += 8)
        accumulate<8, true, 64>(zeros, x.sum_pairs(token + t) + t % kTileTokens, 16, x.pairs(), c + t * kPairLanes);
    }
    for (std::int64_t k = 0; k < w.padded_cols(); k += kTileChunkCols) {
      const std::int64_t end = std::min(w.padded_cols(), k + kTileChunkCols);
      for (int side = 0; side < 2; ++side)
        expand<kind, bits>(w, pair.panel[side], k / kStepCols, end / kStepCols, operands + side * kLineBytes);
      // A last half tile multiplies stale operands with the padding of the tokens, which is zero.
      const Product product{operands, k, end, 64};
      std::int64_t t = 0;
      for (; t + 2 * kTileTokens <= tokens; t += 2 * kTileTokens)
        multiply<2, false>(product, x.codes(token + t), x.block_bytes(), c + t * kPairLanes);
      if (t < tokens) multiply<1, false>(product, x.codes(token + t), x.block_bytes(), c + t * kPairLanes);
    }
    finish(task, p, range.last_panel, token, live, c);
  }
}

// The grid of one group of two panels.
struct GroupGrid {
  __m512i minus[2];
  __m512 scale[2];
};

// c += the group's sums, centred and scaled, for `tokens` tokens of whole blocks.
VN_TARGET_VNNI void add_group(const QuantizedRows& x, const GroupGrid& grid, std::int64_t g, std::int64_t token,
                              std::int64_t tokens, const std::int32_t* sums, float* c) {
  for (std::int64_t t = 0; t < tokens; ++t, sums += kPairLanes, c += kPairLanes) {
    const __m512i pair = broadcast(x.sum_pairs(token + t) + g / 2 * kTileTokens + t % kTileTokens);
    const __m512 scale = _mm512_set1_ps(x.scales(token + t)[g * x.scale_step()]);
#pragma GCC unroll 2
    for (int side = 0; side < 2; ++side) {
      const __m512i sum = _mm512_dpwssd_epi32(_mm512_load_si512(sums + side * kPanelRows), grid.minus[side], pair);
      const __m512 both = _mm512_mul_ps(grid.scale[side], scale);
      float* at = c + side * kPanelRows;
      _mm512_store_ps(at, _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), both, _mm512_load_ps(at)));
    }
  }
}

template <int bits>
VN_TARGET_AMX void tile_group(const PanelTask& task, const PanelRange& range) {
  static thread_local Scratch<std::uint8_t> operand_scratch;
  static thread_local Scratch<float> value_scratch;
  alignas(64) std::int32_t sums[2 * kTileTokens * kPairLanes];
  const PanelMatrix& w = task.w;
  const QuantizedRows& x = task.x;
  const std::int64_t token = range.first_token, live = range.last_token - token, tokens = round_up(live, kTileTokens);
  const std::int64_t group = w.group_cols();
  std::uint8_t* operands = operand_scratch.get(group / 4 * kOperandBytes);
  float* c = value_scratch.get(tokens * kPairLanes);
  const int cols = group % 64 == 0 ? 64 : 32;
  const Tiles tiles(cols);
  for (std::int64_t p = range.first_panel; p < range.last_panel; p += 2) {
    const Pair pair{{p, std::min(p + 1, range.last_panel - 1)}};
    std::fill_n(c, tokens * kPairLanes, 0.0f);
    for (std::int64_t g = 0; g < w.groups(); ++g) {
      GroupGrid grid;
      for (int side = 0; side < 2; ++side) {
        const std::int64_t panel = pair.panel[side];
        grid.minus[side] = minus_zero(widen(w.integers(panel) + g * kPanelRows), g);
        grid.scale[side] = _mm512_load_ps(w.scales(panel) + g * kPanelRows);
        expand<PanelKind::group, bits>(w, panel, g * group / kStepCols, (g + 1) * group / kStepCols,
                                       operands + side * kLineBytes);
      }
      const Product product{operands, g * group, (g + 1) * group, cols};
      for (std::int64_t t = 0; t < tokens; t += 2 * kTileTokens) {
        const std::int64_t count = std::min(2 * kTileTokens, tokens - t);
        (count == kTileTokens ? multiply<1, true> : multiply<2, true>)(product, x.codes(token + t), x.block_bytes(),
                                                                       sums);
        add_group(x, grid, g, token + t, count, sums, c + t * kPairLanes);
      }
    }
    finish(task, p, range.last_panel, token, live, c);
  }
}

}  // namespace

void tile_amx(const PanelTask& task, const PanelRange& range) {
  by_kind_and_bits(task.w.spec(), [&]<PanelKind kind, int bits>() {
    if constexpr (kind == PanelKind::group)
      tile_group<bits>(task, range);
    else
      tile<kind, bits>(task, range);
  });
}

}  // namespace vernier::kernels
