#include <immintrin.h>

#include <cstring>

#include "kernels/attention/block.h"
#include "kernels/attention/row_blocks.h"
#include "kernels/isa.h"

namespace vernier::kernels {
namespace {

constexpr std::int64_t kLanes = 8;

// 8 tokens of dim c, from a panel or its second half.
template <KvType type>
VN_TARGET_AVX2 inline __m256 key_lanes(const std::byte* panel, std::int64_t c, std::int64_t lane) {
  const std::int64_t at = c * kPanelTokens + lane;
  if constexpr (type == KvType::f32) return _mm256_load_ps(reinterpret_cast<const float*>(panel) + at);
  return _mm256_cvtph_ps(
      _mm_load_si128(reinterpret_cast<const __m128i*>(reinterpret_cast<const std::uint16_t*>(panel) + at)));
}

// 8 dims of one token; c is a multiple of 8.
template <KvType type>
VN_TARGET_AVX2 inline __m256 value_lanes(const std::byte* row, std::int64_t c) {
  if constexpr (type == KvType::f32) return _mm256_load_ps(reinterpret_cast<const float*>(row) + c);
  return _mm256_cvtph_ps(_mm_load_si128(reinterpret_cast<const __m128i*>(row + 2 * c)));
}

template <KvType type, int kRows>
VN_TARGET_AVX2 void score_float_rows(const QueryRows& queries, std::int64_t first, const BlockView& block,
                                     float* scores) {
  const float* q = queries.floats + first * queries.stride;
  for (std::int64_t t = 0; t < kPageTokens; t += kLanes) {
    const std::byte* panel = block.keys + t / kPanelTokens * block.panel_bytes;
    __m256 sums[kRows];
    for (int r = 0; r < kRows; ++r) sums[r] = _mm256_setzero_ps();
    for (std::int64_t c = 0; c < queries.head_dim; ++c) {
      const __m256 k = key_lanes<type>(panel, c, t % kPanelTokens);
      for (int r = 0; r < kRows; ++r) sums[r] = _mm256_fmadd_ps(_mm256_set1_ps(q[r * queries.stride + c]), k, sums[r]);
    }
    for (int r = 0; r < kRows; ++r) _mm256_store_ps(scores + (first + r) * kPageTokens + t, sums[r]);
  }
}

VN_TARGET_AVX2 inline __m256i four_codes(const std::int8_t* codes) {
  std::int32_t four;
  std::memcpy(&four, codes, sizeof four);
  return _mm256_set1_epi32(four);
}

// u8 * s8 in fours, exact: pairs reach 2 * 127 * 127 and 2 * 15 * 127, below 2^15.
VN_TARGET_AVX2 inline __m256i dot_fours(__m256i unsigned_bytes, __m256i signed_bytes) {
  return _mm256_madd_epi16(_mm256_maddubs_epi16(unsigned_bytes, signed_bytes), _mm256_set1_epi16(1));
}

template <KvType type, int kRows>
VN_TARGET_AVX2 void score_code_rows(const QueryRows& queries, std::int64_t first, const BlockView& block,
                                    float* scores) {
  const std::int8_t* q = queries.codes + first * queries.stride;
  constexpr std::int64_t kDims = type == KvType::int8 ? 4 : 8;
  for (std::int64_t t = 0; t < kPageTokens; t += kLanes) {
    const std::byte* panel = block.keys + t / kPanelTokens * block.panel_bytes + t % kPanelTokens * 4;
    __m256i sums[kRows];
    for (int r = 0; r < kRows; ++r) sums[r] = _mm256_setzero_si256();
    for (std::int64_t c = 0; c < queries.head_dim; c += kDims) {
      const __m256i stored = _mm256_load_si256(reinterpret_cast<const __m256i*>(panel + c / kDims * 64));
      if constexpr (type == KvType::int8) {  // codes are within +-127: |k| times q with k's sign
        const __m256i k = _mm256_xor_si256(stored, _mm256_set1_epi8(-128)), size = _mm256_abs_epi8(k);
        for (int r = 0; r < kRows; ++r) {
          const __m256i x = _mm256_sign_epi8(four_codes(q + r * queries.stride + c), k);
          sums[r] = _mm256_add_epi32(sums[r], dot_fours(size, x));
        }
      } else {
        const __m256i nibble = _mm256_set1_epi8(15);
        const __m256i low = _mm256_and_si256(stored, nibble);
        const __m256i high = _mm256_and_si256(_mm256_srli_epi16(stored, 4), nibble);
        for (int r = 0; r < kRows; ++r) {
          const std::int8_t* codes = q + r * queries.stride + c;
          sums[r] = _mm256_add_epi32(sums[r], dot_fours(low, four_codes(codes)));
          sums[r] = _mm256_add_epi32(sums[r], dot_fours(high, four_codes(codes + 4)));
        }
      }
    }
    const __m256 scale = _mm256_load_ps(block.key_scale + t);
    for (int r = 0; r < kRows; ++r) {
      const __m256 q_scale = _mm256_set1_ps(queries.code_scale[first + r]), dot = _mm256_cvtepi32_ps(sums[r]);
      __m256 score;
      if constexpr (type == KvType::int8) {
        score = _mm256_mul_ps(_mm256_mul_ps(q_scale, scale), dot);
      } else {
        const __m256 q_sum = _mm256_set1_ps(static_cast<float>(queries.code_sum[first + r]));
        const __m256 offset = _mm256_mul_ps(_mm256_load_ps(block.key_minimum + t), q_sum);
        score = _mm256_mul_ps(q_scale, _mm256_add_ps(_mm256_mul_ps(scale, dot), offset));
      }
      _mm256_store_ps(scores + (first + r) * kPageTokens + t, score);
    }
  }
}

template <KvType type, int kRows>
VN_TARGET_AVX2 void weigh_rows(const float* weights, const float* offsets, std::int64_t first, const BlockView& block,
                               std::int64_t tokens, float* out, std::int64_t width) {
  for (std::int64_t c = 0; c < width; c += kLanes) {
    __m256 sums[kRows];
    for (int r = 0; r < kRows; ++r)
      sums[r] = _mm256_add_ps(_mm256_load_ps(out + (first + r) * width + c), _mm256_set1_ps(offsets[first + r]));
    for (std::int64_t t = 0; t < tokens; ++t) {
      const __m256 value = value_lanes<type>(block.values + t * block.value_row_bytes, c);
      for (int r = 0; r < kRows; ++r)
        sums[r] = _mm256_fmadd_ps(_mm256_set1_ps(weights[(first + r) * kPageTokens + t]), value, sums[r]);
    }
    for (int r = 0; r < kRows; ++r) _mm256_store_ps(out + (first + r) * width + c, sums[r]);
  }
}

VN_TARGET_AVX2 void to_codes(const float* weights, int row, WeightCodes& codes) {
  __m256 w[4];
  for (int i = 0; i < 4; ++i) w[i] = _mm256_load_ps(weights + kLanes * i);
  const __m256 largest4 = _mm256_max_ps(_mm256_max_ps(w[0], w[1]), _mm256_max_ps(w[2], w[3]));
  __m128 most = _mm_max_ps(_mm256_castps256_ps128(largest4), _mm256_extractf128_ps(largest4, 1));
  most = _mm_max_ps(most, _mm_movehl_ps(most, most));
  const float largest = _mm_cvtss_f32(_mm_max_ss(most, _mm_shuffle_ps(most, most, 1)));
  const bool any = largest > kLeastWeight;
  codes.step[row] = any ? largest / kLargestWeightCode : 0;
  const __m256 inverse = _mm256_set1_ps(any ? kLargestWeightCode / largest : 0);
  for (int i = 0; i < 4; ++i) {
    const __m256i code = _mm256_cvtps_epi32(_mm256_max_ps(_mm256_mul_ps(w[i], inverse), _mm256_setzero_ps()));
    alignas(32) std::int32_t plain[kLanes];
    _mm256_store_si256(reinterpret_cast<__m256i*>(plain), code);
    for (int t = 0; t < kLanes; ++t) {
      codes.high[row][kLanes * i + t] = static_cast<std::uint8_t>(plain[t] >> 7);
      codes.low[row][kLanes * i + t] = static_cast<std::uint8_t>(plain[t] & 127);
    }
  }
}

VN_TARGET_AVX2 inline __m256i four_weights(const std::uint8_t* weights) {
  std::int32_t four;
  std::memcpy(&four, weights, sizeof four);
  return _mm256_set1_epi32(four);
}

template <KvType type, int kRows>
VN_TARGET_AVX2 void weigh_code_rows(const float* weights, const float* offsets, std::int64_t first,
                                    const BlockView& block, float* out, std::int64_t width) {
  WeightCodes codes;
  for (int r = 0; r < kRows; ++r) to_codes(weights + (first + r) * kPageTokens, r, codes);
  for (std::int64_t c = 0; c < width; c += kLanes) {
    const std::int64_t byte = type == KvType::int8 ? c : c / 32 * 16 + c % 16;  // of a row
    __m256i high[kRows], low[kRows];
    for (int r = 0; r < kRows; ++r) high[r] = low[r] = _mm256_setzero_si256();
    for (std::int64_t t = 0; t < kPageTokens; t += kQuadTokens) {
      __m256i value = _mm256_load_si256(
          reinterpret_cast<const __m256i*>(block.values + t * block.value_row_bytes + byte * kQuadTokens));
      if constexpr (type == KvType::int4)
        value = _mm256_and_si256(c % 32 < 16 ? value : _mm256_srli_epi16(value, 4), _mm256_set1_epi8(15));
      for (int r = 0; r < kRows; ++r) {
        high[r] = _mm256_add_epi32(high[r], dot_fours(four_weights(codes.high[r] + t), value));
        low[r] = _mm256_add_epi32(low[r], dot_fours(four_weights(codes.low[r] + t), value));
      }
    }
    for (int r = 0; r < kRows; ++r) {
      float* const at = out + (first + r) * width + c;
      const __m256i sum = _mm256_add_epi32(_mm256_slli_epi32(high[r], 7), low[r]);
      const __m256 start = _mm256_add_ps(_mm256_load_ps(at), _mm256_set1_ps(offsets[first + r]));
      const __m256 share = _mm256_mul_ps(_mm256_set1_ps(codes.step[r]), _mm256_cvtepi32_ps(sum));
      _mm256_store_ps(at, _mm256_add_ps(start, share));
    }
  }
}

template <KvType type>
void score_floats(const QueryRows& queries, std::int64_t first, std::int64_t last, const BlockView& block,
                  float* scores) {
  for_row_blocks(first, last,
                 [&](auto rows, std::int64_t row) { score_float_rows<type, rows.value>(queries, row, block, scores); });
}

template <KvType type>
void score_codes(const QueryRows& queries, std::int64_t first, std::int64_t last, const BlockView& block,
                 float* scores) {
  for_row_blocks(first, last,
                 [&](auto rows, std::int64_t row) { score_code_rows<type, rows.value>(queries, row, block, scores); });
}

template <KvType type>
void weigh_floats(const float* weights, const float* offsets, std::int64_t first, std::int64_t last,
                  const BlockView& block, std::int64_t tokens, float* out, std::int64_t width) {
  for_row_blocks(first, last, [&](auto rows, std::int64_t row) {
    weigh_rows<type, rows.value>(weights, offsets, row, block, tokens, out, width);
  });
}

template <KvType type>
void weigh_codes(const float* weights, const float* offsets, std::int64_t first, std::int64_t last,
                 const BlockView& block, std::int64_t, float* out, std::int64_t width) {
  for_row_blocks(first, last, [&](auto rows, std::int64_t row) {
    weigh_code_rows<type, rows.value>(weights, offsets, row, block, out, width);
  });
}

}  // namespace

BlockKernels block_avx2(KvType type) {
  switch (type) {
    case KvType::f32:
      return {score_floats<KvType::f32>, weigh_floats<KvType::f32>};
    case KvType::f16:
      return {score_floats<KvType::f16>, weigh_floats<KvType::f16>};
    case KvType::int8:
      return {score_codes<KvType::int8>, weigh_codes<KvType::int8>};
    case KvType::int4:
      return {score_codes<KvType::int4>, weigh_codes<KvType::int4>};
  }
  return {};
}

}  // namespace vernier::kernels
