#include <immintrin.h>

#include "kernels/attention/block.h"
#include "kernels/attention/row_blocks.h"
#include "kernels/isa.h"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"  // GCC 12's false alarm on _mm512_undefined_ps (its bug 105593)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

namespace vernier::kernels {
namespace {

// 16 tokens of dim c.
template <KvType type>
VN_TARGET_AVX512 inline __m512 key_lanes(const std::byte* panel, std::int64_t c) {
  if constexpr (type == KvType::f32) return _mm512_load_ps(reinterpret_cast<const float*>(panel) + c * kPanelTokens);
  return _mm512_cvtph_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(panel) + c));
}

// 16 dims of one token.
template <KvType type>
VN_TARGET_AVX512 inline __m512 value_lanes(const std::byte* row, std::int64_t c) {
  if constexpr (type == KvType::f32) return _mm512_load_ps(reinterpret_cast<const float*>(row) + c);
  return _mm512_cvtph_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(row) + c / 16));
}

template <KvType type, int kRows>
VN_TARGET_AVX512 void score_float_rows(const QueryRows& queries, std::int64_t first, const BlockView& block,
                                       float* scores) {
  const float* q = queries.floats + first * queries.stride;
  __m512 sums[kRows][2];
  for (int r = 0; r < kRows; ++r) sums[r][0] = sums[r][1] = _mm512_setzero_ps();
  for (std::int64_t c = 0; c < queries.head_dim; ++c) {
    const __m512 low = key_lanes<type>(block.keys, c), high = key_lanes<type>(block.keys + block.panel_bytes, c);
    for (int r = 0; r < kRows; ++r) {
      const __m512 x = _mm512_set1_ps(q[r * queries.stride + c]);
      sums[r][0] = _mm512_fmadd_ps(x, low, sums[r][0]);
      sums[r][1] = _mm512_fmadd_ps(x, high, sums[r][1]);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    float* out = scores + (first + r) * kPageTokens;
    _mm512_store_ps(out, sums[r][0]);
    _mm512_store_ps(out + kPanelTokens, sums[r][1]);
  }
}

// Rows [first, first + kRows), dims [c, c + 16 kVectors).
template <KvType type, int kRows, int kVectors>
VN_TARGET_AVX512 inline void weigh_tile(const float* weights, const float* offsets, std::int64_t first,
                                        const BlockView& block, std::int64_t tokens, float* out, std::int64_t width,
                                        std::int64_t c, const std::byte* next) {
  __m512 sums[kRows][kVectors];
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v)
      sums[r][v] =
          _mm512_add_ps(_mm512_load_ps(out + (first + r) * width + c + 16 * v), _mm512_set1_ps(offsets[first + r]));
  }
  for (std::int64_t t = 0; t < tokens; ++t) {
    const std::byte* row = block.values + t * block.value_row_bytes;
    for (std::int64_t byte = 64 * t; next && byte < block.block_bytes; byte += 64 * kPageTokens)
      _mm_prefetch(reinterpret_cast<const char*>(next + byte), _MM_HINT_T1);
    __m512 values[kVectors];
    for (int v = 0; v < kVectors; ++v) values[v] = value_lanes<type>(row, c + 16 * v);
    for (int r = 0; r < kRows; ++r) {
      const __m512 w = _mm512_set1_ps(weights[(first + r) * kPageTokens + t]);
      for (int v = 0; v < kVectors; ++v) sums[r][v] = _mm512_fmadd_ps(w, values[v], sums[r][v]);
    }
  }
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) _mm512_store_ps(out + (first + r) * width + c + 16 * v, sums[r][v]);
}

// 16 accumulators either way: many rows share the conversion of two vectors, few rows that of four.
template <KvType type, int kRows>
VN_TARGET_AVX512 void weigh_rows(const float* weights, const float* offsets, std::int64_t first, const BlockView& block,
                                 std::int64_t tokens, float* out, std::int64_t width, const std::byte* next) {
  constexpr int kVectors = kRows >= 8 ? 2 : 4;
  std::int64_t c = 0;
  for (; c + 16 * kVectors <= width; c += 16 * kVectors, next = nullptr)
    weigh_tile<type, kRows, kVectors>(weights, offsets, first, block, tokens, out, width, c, next);
  for (; c + 32 <= width; c += 32, next = nullptr)
    weigh_tile<type, kRows, 2>(weights, offsets, first, block, tokens, out, width, c, next);
  if (c < width) weigh_tile<type, kRows, 1>(weights, offsets, first, block, tokens, out, width, c, next);
}

template <KvType type>
void score_floats(const QueryRows& queries, std::int64_t first, std::int64_t last, const BlockView& block,
                  float* scores) {
  for_row_blocks(first, last,
                 [&](auto rows, std::int64_t row) { score_float_rows<type, rows.value>(queries, row, block, scores); });
}

template <KvType type>
void weigh(const float* weights, const float* offsets, std::int64_t first, std::int64_t last, const BlockView& block,
           std::int64_t tokens, float* out, std::int64_t width) {
  for_row_blocks(first, last, [&](auto rows, std::int64_t row) {
    weigh_rows<type, rows.value>(weights, offsets, row, block, tokens, out, width, row == first ? block.next : nullptr);
  });
}

}  // namespace

BlockKernels block_avx512(KvType type) {
  switch (type) {
    case KvType::f32:
      return {score_floats<KvType::f32>, weigh<KvType::f32>};
    case KvType::f16:
      return {score_floats<KvType::f16>, weigh<KvType::f16>};
    case KvType::int8:
    case KvType::int4:
      return block_avx2(type);
  }
  return {};
}

}  // namespace vernier::kernels
