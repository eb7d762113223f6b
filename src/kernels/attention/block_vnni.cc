// Integer pages: exact sums by four-byte dot products.
#include <immintrin.h>

#include <cstring>

#include "kernels/attention/block.h"
#include "kernels/attention/row_blocks.h"
#include "kernels/isa.h"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"  // GCC 12's false alarm on _mm512_undefined_ps (its bug 105593)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

namespace vernier::kernels {
namespace {

VN_TARGET_VNNI inline __m512i four_bytes(const void* codes) {
  std::int32_t four;
  std::memcpy(&four, codes, sizeof four);
  return _mm512_set1_epi32(four);
}

template <KvType type, int kRows>
VN_TARGET_VNNI void score_code_rows(const QueryRows& queries, std::int64_t first, const BlockView& block,
                                    float* scores) {
  const std::int8_t* q = queries.codes + first * queries.stride;
  __m512i sums[kRows][2];
  for (int r = 0; r < kRows; ++r) sums[r][0] = sums[r][1] = _mm512_setzero_si512();
  constexpr std::int64_t kDims = type == KvType::int8 ? 4 : 8;  // in one vector of 16 tokens
  const __m512i nibble = _mm512_set1_epi8(15);
  for (std::int64_t c = 0; c < queries.head_dim; c += kDims) {
    for (int panel = 0; panel < 2; ++panel) {
      const __m512i k = _mm512_load_si512(block.keys + panel * block.panel_bytes + c / kDims * 64);
      if constexpr (type == KvType::int8) {
        for (int r = 0; r < kRows; ++r)
          sums[r][panel] = _mm512_dpbusd_epi32(sums[r][panel], k, four_bytes(q + r * queries.stride + c));
      } else {
        const __m512i low = _mm512_and_si512(k, nibble), high = _mm512_and_si512(_mm512_srli_epi16(k, 4), nibble);
        for (int r = 0; r < kRows; ++r) {
          const std::int8_t* codes = q + r * queries.stride + c;
          sums[r][panel] = _mm512_dpbusd_epi32(sums[r][panel], low, four_bytes(codes));
          sums[r][panel] = _mm512_dpbusd_epi32(sums[r][panel], high, four_bytes(codes + 4));
        }
      }
    }
  }
  for (int r = 0; r < kRows; ++r) {
    const std::int32_t q_sum = queries.code_sum[first + r];
    const __m512 q_scale = _mm512_set1_ps(queries.code_scale[first + r]);
    for (int panel = 0; panel < 2; ++panel) {
      const __m512 scale = _mm512_load_ps(block.key_scale + panel * kPanelTokens);
      __m512 score;
      if constexpr (type == KvType::int8) {
        const __m512i dot = _mm512_sub_epi32(sums[r][panel], _mm512_set1_epi32(128 * q_sum));
        score = _mm512_mul_ps(_mm512_mul_ps(q_scale, scale), _mm512_cvtepi32_ps(dot));
      } else {
        const __m512 minimum = _mm512_load_ps(block.key_minimum + panel * kPanelTokens);
        const __m512 offset = _mm512_mul_ps(minimum, _mm512_set1_ps(static_cast<float>(q_sum)));
        score = _mm512_add_ps(_mm512_mul_ps(scale, _mm512_cvtepi32_ps(sums[r][panel])), offset);
        score = _mm512_mul_ps(q_scale, score);
      }
      _mm512_store_ps(scores + (first + r) * kPageTokens + panel * kPanelTokens, score);
    }
  }
}

VN_TARGET_VNNI inline void to_codes(const float* weights, int row, WeightCodes& codes) {
  const __m512 a = _mm512_load_ps(weights), b = _mm512_load_ps(weights + 16);
  const float largest = _mm512_reduce_max_ps(_mm512_max_ps(a, b));
  const bool any = largest > kLeastWeight;
  codes.step[row] = any ? largest / kLargestWeightCode : 0;
  const __m512 inverse = _mm512_set1_ps(any ? kLargestWeightCode / largest : 0), none = _mm512_setzero_ps();
  const __m512i low_bits = _mm512_set1_epi32(127);
  for (int half = 0; half < 2; ++half) {
    const __m512i code = _mm512_cvtps_epi32(_mm512_max_ps(_mm512_mul_ps(half ? b : a, inverse), none));
    _mm_store_si128(reinterpret_cast<__m128i*>(codes.high[row]) + half,
                    _mm512_cvtepi32_epi8(_mm512_srli_epi32(code, 7)));
    _mm_store_si128(reinterpret_cast<__m128i*>(codes.low[row]) + half,
                    _mm512_cvtepi32_epi8(_mm512_and_si512(code, low_bits)));
  }
}

// Dims [c, c + 16 kVectors) of the values of four tokens. int4: c is a multiple of 32, or kVectors is 1.
template <KvType type, int kVectors>
VN_TARGET_VNNI inline void load_values(const std::byte* quad, std::int64_t c, __m512i (&values)[kVectors]) {
  if constexpr (type == KvType::int8) {
    for (int v = 0; v < kVectors; ++v) values[v] = _mm512_load_si512(quad + (c + 16 * v) * kQuadTokens);
  } else {
    const __m512i nibble = _mm512_set1_epi8(15);
    for (int v = 0; v < kVectors; ++v) {
      const std::int64_t dim = c + 16 * v;
      const __m512i both = _mm512_load_si512(quad + dim / 32 * 64);
      values[v] = _mm512_and_si512(dim % 32 < 16 ? both : _mm512_srli_epi16(both, 4), nibble);
    }
  }
}

// Rows [first, first + kRows) whose weights are `codes`, dims [c, c + 16 kVectors).
template <KvType type, int kRows, int kVectors>
VN_TARGET_VNNI inline void weigh_tile(const WeightCodes& codes, const float* offsets, std::int64_t first,
                                      const BlockView& block, float* out, std::int64_t width, std::int64_t c,
                                      const std::byte* next) {
  const std::int64_t quad_bytes = kQuadTokens * block.value_row_bytes;
  constexpr std::int64_t kQuads = kPageTokens / kQuadTokens;
  __m512i high[kRows][kVectors], low[kRows][kVectors];
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) high[r][v] = low[r][v] = _mm512_setzero_si512();
  for (std::int64_t quad = 0; quad < kQuads; ++quad) {
    for (std::int64_t byte = 64 * quad; next && byte < block.block_bytes; byte += 64 * kQuads)
      _mm_prefetch(reinterpret_cast<const char*>(next + byte), _MM_HINT_T1);
    __m512i values[kVectors];
    load_values<type>(block.values + quad * quad_bytes, c, values);
    for (int r = 0; r < kRows; ++r) {
      const __m512i upper = four_bytes(codes.high[r] + quad * kQuadTokens);
      const __m512i lower = four_bytes(codes.low[r] + quad * kQuadTokens);
      for (int v = 0; v < kVectors; ++v) {
        high[r][v] = _mm512_dpbusd_epi32(high[r][v], upper, values[v]);
        low[r][v] = _mm512_dpbusd_epi32(low[r][v], lower, values[v]);
      }
    }
  }
  for (int r = 0; r < kRows; ++r) {
    const __m512 offset = _mm512_set1_ps(offsets[first + r]), step = _mm512_set1_ps(codes.step[r]);
    for (int v = 0; v < kVectors; ++v) {
      float* const at = out + (first + r) * width + c + 16 * v;
      const __m512i sum = _mm512_add_epi32(_mm512_slli_epi32(high[r][v], 7), low[r][v]);
      const __m512 share = _mm512_mul_ps(step, _mm512_cvtepi32_ps(sum));
      _mm512_store_ps(at, _mm512_add_ps(_mm512_add_ps(_mm512_load_ps(at), offset), share));
    }
  }
}

// 16 accumulators, however many rows.
template <KvType type, int kRows>
VN_TARGET_VNNI void weigh_rows(const float* weights, const float* offsets, std::int64_t first, const BlockView& block,
                               float* out, std::int64_t width, const std::byte* next) {
  WeightCodes codes;
  for (int r = 0; r < kRows; ++r) to_codes(weights + (first + r) * kPageTokens, r, codes);
  constexpr int kVectors = kRows >= 8 ? 1 : kRows == 4 ? 2 : 4;
  std::int64_t c = 0;
  for (; c + 16 * kVectors <= width; c += 16 * kVectors, next = nullptr)
    weigh_tile<type, kRows, kVectors>(codes, offsets, first, block, out, width, c, next);
  for (; c < width; c += 16, next = nullptr)
    weigh_tile<type, kRows, 1>(codes, offsets, first, block, out, width, c, next);
}

template <KvType type>
void score_codes(const QueryRows& queries, std::int64_t first, std::int64_t last, const BlockView& block,
                 float* scores) {
  for_row_blocks(first, last,
                 [&](auto rows, std::int64_t row) { score_code_rows<type, rows.value>(queries, row, block, scores); });
}

template <KvType type>
void weigh_codes(const float* weights, const float* offsets, std::int64_t first, std::int64_t last,
                 const BlockView& block, std::int64_t, float* out, std::int64_t width) {
  for_row_blocks(first, last, [&](auto rows, std::int64_t row) {
    weigh_rows<type, rows.value>(weights, offsets, row, block, out, width, row == first ? block.next : nullptr);
  });
}

}  // namespace

BlockKernels block_vnni(KvType type) {
  if (type == KvType::int8) return {score_codes<KvType::int8>, weigh_codes<KvType::int8>};
  return {score_codes<KvType::int4>, weigh_codes<KvType::int4>};
}

}  // namespace vernier::kernels
