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
  // The block that comes after this one, for weigh to fetch meanwhile: blocks lie too far apart for the hardware to see
  // it coming, and all of it at once would fill the queue of outstanding reads. Null: none.
  const std::byte* next = nullptr;
  std::int64_t next_lines = 0;  // of 64 bytes, for each token of this block
};

// scores[r, t] = query r . key t for rows [first, last) and all tokens of the page, [rows, kPageTokens]. Integer pages:
//   int8  code_scale key_scale (sum u8 s8 - 128 code_sum), the sum exact in int32
//   int4  code_scale (key_scale sum u4 s8 + key_minimum code_sum)
// Tokens that were never written give garbage.
using Score = void (*)(const QueryRows& queries, std::int64_t first, std::int64_t last, const BlockView& block,
                       float* scores);

// out[r, c] += sum over tokens t < tokens of weights[r, t] * value code [t, c], in rising t, after adding offsets[r].
// weights [rows, kPageTokens] hold the values' scales already. out [rows, width], width = head_dim rounded up to 16.
using Weigh = void (*)(const float* weights, const float* offsets, std::int64_t first, std::int64_t last,
                       const BlockView& block, std::int64_t tokens, float* out, std::int64_t width);

struct BlockKernels {
  Score score = nullptr;
  Weigh weigh = nullptr;
};
BlockKernels block_kernels(KvType type);  // for this CPU

// By instruction set; VNNI has integer scores alone.
BlockKernels block_scalar(KvType type);
BlockKernels block_avx2(KvType type);
BlockKernels block_avx512(KvType type);
Score score_vnni(KvType type);  // int8, int4

}  // namespace vernier::kernels
