// Few tokens: dot products of raw codes, scaled once per group. Bound by memory from about one to four tokens.
#include <algorithm>

#include "kernels/panel/vnni.h"

namespace vernier::kernels {
namespace {

// How far ahead in the codes to prefetch, in bytes. Up to four tokens the loads themselves keep the memory busy, and a
// farther prefetch only hinders the hardware's own; with eight, products fill the time in which it would run ahead.
template <int T>
constexpr std::int64_t kPrefetchBytes = T == 8 ? 8192 : 256;

// d[t] += a step's codes, from operand `quad` on, times the codes of token t.
template <int bits, int T, int chains, int quad = 0>
VN_INLINE_VNNI void dot_step(const std::uint8_t* step, const std::int8_t* const (&x)[(T + 3) / 4], std::int64_t k,
                             __m512i (&d)[T][chains]) {
  constexpr int block = T == 1 ? 1 : 4;  // of x
  const __m512i w = operand<bits, quad>(step);
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) {
    const __m512i codes = broadcast(x[t / 4] + (k + 4 * quad) * block + t % 4 * 4);
    d[t][quad % chains] = _mm512_dpbusd_epi32(d[t][quad % chains], w, codes);
  }
  if constexpr (quad + 1 < kQuads) dot_step<bits, T, chains, quad + 1>(step, x, k, d);
}

// One panel, T tokens from `token` (tokens beyond the last one are padding of the block).
template <PanelKind kind, int bits, int T>
VN_TARGET_VNNI void stream_panel(const PanelTask& task, std::int64_t panel, std::int64_t token, std::int64_t live) {
  constexpr int block = T == 1 ? 1 : 4;                // of x
  constexpr int chains = T == 1 ? 4 : T <= 4 ? 2 : 1;  // enough independent sums to hide the latency of one
  const PanelMatrix& w = task.w;
  const QuantizedRows& x = task.x;
  const std::int64_t step_bytes = bits * kLineBytes, group_steps = w.group_cols() / kStepCols;
  const std::uint8_t* step = w.codes(panel);
  const std::uint8_t* integers = w.integers(panel);
  const float* scales = w.scales(panel);
  const std::int8_t* codes[(T + 3) / 4];
  const std::int32_t* sums[(T + 3) / 4];
  for (int b = 0; b < (T + 3) / 4; ++b) codes[b] = x.codes(token + 4 * b), sums[b] = x.sum_pairs(token + 4 * b);

  __m512i total[T];
  __m512 value[T];
  for (int t = 0; t < T; ++t) total[t] = _mm512_setzero_si512(), value[t] = _mm512_setzero_ps();
  for (std::int64_t g = 0, k = 0; g < w.groups(); ++g) {
    const FineLanes fine = fine_lanes<kind, bits>(integers + g * integer_bytes({kind, bits}));
    const __m512i minus = minus_zero(fine.zero, g);
    __m512i d[T][chains];
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
      for (int c = 0; c < chains; ++c) d[t][c] = _mm512_setzero_si512();
      if constexpr (kind == PanelKind::plain)
        d[t][0] = _mm512_sub_epi32(d[t][0], _mm512_mullo_epi32(fine.zero, _mm512_set1_epi32(x.total(token + t))));
      else
        d[t][0] = _mm512_dpwssd_epi32(d[t][0], minus, _mm512_set1_epi32(sums[t / 4][g / 2 * block + t % 4]));
    }
    for (std::int64_t s = 0; s < group_steps; ++s, k += kStepCols, step += step_bytes) {
#pragma GCC unroll 8
      for (int line = 0; line < bits; ++line)
        _mm_prefetch(reinterpret_cast<const char*>(step + kPrefetchBytes<T> + line * kLineBytes), _MM_HINT_T0);
      dot_step<bits, T, chains>(step, codes, k, d);
    }
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
      for (int c = 1; c < chains; ++c) d[t][0] = _mm512_add_epi32(d[t][0], d[t][c]);
      if constexpr (kind == PanelKind::group) {
        const __m512 scale = _mm512_mul_ps(_mm512_load_ps(scales + g * kPanelRows),
                                           _mm512_set1_ps(x.scales(token + t)[g * x.scale_step()]));
        value[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(d[t][0]), scale, value[t]);
      } else if constexpr (kind == PanelKind::dual) {
        total[t] = _mm512_add_epi32(total[t], _mm512_mullo_epi32(d[t][0], fine.scale));
      } else {
        total[t] = d[t][0];
      }
    }
  }
  for (int t = 0; t < T && t < live; ++t) {
    if constexpr (kind == PanelKind::group)
      store(task, panel, token + t, value[t]);
    else
      store_scaled(task, panel, token + t, total[t]);
  }
}

template <PanelKind kind, int bits>
void stream(const PanelTask& task, const PanelRange& range) {
  for (std::int64_t token = range.first_token; token < range.last_token; token += 8) {
    const std::int64_t live = std::min<std::int64_t>(range.last_token - token, 8);
    const auto kernel = task.x.block_tokens() == 1 ? stream_panel<kind, bits, 1>
                        : live == 2                ? stream_panel<kind, bits, 2>
                        : live <= 4                ? stream_panel<kind, bits, 4>
                                                   : stream_panel<kind, bits, 8>;
    for (std::int64_t p = range.first_panel; p < range.last_panel; ++p) kernel(task, p, token, live);
  }
}

}  // namespace

void stream_vnni(const PanelTask& task, const PanelRange& range) {
  by_kind_and_bits(task.w.spec(), [&]<PanelKind kind, int bits>() { stream<kind, bits>(task, range); });
}

}  // namespace vernier::kernels
