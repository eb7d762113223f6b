// What attention over the cache does with one kv head's block of a page, for all query rows that share the head. One
// function per page type and instruction set. A row's result does not depend on which other rows are in the call.
#pragma once

#include <cstdint>

#include "kernels/kv/page.h"

namespace vernier::kernels {

// Query rows of one kv head, multiplied by the attention's scale. Float pages read `floats`, integer pages
// x = code_scale * code with codes -127 .. 127, whose sum is code_sum.
struct QueryRows {
  const float* floats = nullptr;       // [rows, stride]
  const std::int8_t* codes = nullptr;  // [rows, stride]
  const float* code_scale = nullptr;   // [rows]
  const std::int32_t* code_sum = nullptr;
  std::int64_t stride = 0;  // head_dim rounded up to a multiple of 32; zeros fill it
  std::int64_t head_dim = 0;
};

// A block with its parameters as floats, [kPageTokens] each; null where the type has none.
struct BlockView {
  const std::byte *keys = nullptr, *values = nullptr;
  std::int64_t panel_bytes = 0, value_row_bytes = 0;
  const float *key_scale = nullptr, *key_minimum = nullptr;
  // A block that comes later, for weigh to fetch into the second-level cache meanwhile: blocks lie too far apart for
  // the hardware to see it coming, and all of it at once would fill the queue of outstanding reads. Null: none.
  const std::byte* next = nullptr;
  std::int64_t block_bytes = 0;
};

// scores[r, t] = query r . key t for rows [first, last) and all tokens of the page, [rows, kPageTokens]. Integer pages:
//   int8  code_scale key_scale (sum u8 s8 - 128 code_sum), the sum exact in int32
//   int4  code_scale (key_scale sum u4 s8 + key_minimum code_sum)
// Tokens that were never written give garbage.
using Score = void (*)(const QueryRows& queries, std::int64_t first, std::int64_t last, const BlockView& block,
                       float* scores);

// out[r, c] += sum over tokens t < tokens of weights[r, t] * value code [t, c], in rising t, after adding offsets[r].
// weights [rows, kPageTokens] hold the values' scales already; those of tokens from `tokens` on are 0. out [rows,
// width], width = head_dim rounded up to 16. Integer pages round a row's weights to 14 bits: out += step * sum of code
// 0 .. 16256 times value code, the sum exact in int32, step = the largest weight / 16256. That moves a weight by at
// most 2^-15 of the page's largest, a hundredth of what rounding the values to bytes does. A code is two planes of 7
// bits, so that pairs of products fit int16.
using Weigh = void (*)(const float* weights, const float* offsets, std::int64_t first, std::int64_t last,
                       const BlockView& block, std::int64_t tokens, float* out, std::int64_t width);

struct BlockKernels {
  Score score = nullptr;
  Weigh weigh = nullptr;
};
BlockKernels block_kernels(KvType type);  // for this CPU

// The weights of some rows of an integer page as codes.
inline constexpr std::int64_t kWeightRows = 8;
inline constexpr float kLargestWeightCode = 127 * 128;
inline constexpr float kLeastWeight = 1e-30f;  // pages whose weights are all smaller count as nothing
struct WeightCodes {
  alignas(64) std::uint8_t high[kWeightRows][kPageTokens], low[kWeightRows][kPageTokens];  // code = 128 high + low
  float step[kWeightRows];
};

// By instruction set; VNNI has integer pages alone.
BlockKernels block_scalar(KvType type);
BlockKernels block_avx2(KvType type);
BlockKernels block_avx512(KvType type);
BlockKernels block_vnni(KvType type);  // int8, int4

}  // namespace vernier::kernels
