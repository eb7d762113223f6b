// Pages of the KV cache: kPageTokens tokens of one layer, all kv heads. A page is one block per kv head; a block is
// keys, values, then half-precision parameters. With d = head_dim:
//
//   keys    panels of 16 tokens, so that one vector holds 16 tokens and scores need no horizontal sums
//     f32, f16   [2 panels][d][16 tokens]
//     int8       [2][ceil(d / 4)][16][4 dims]   code + 128 as u8
//     int4       [2][ceil(d / 8)][16][4]        byte b: dim 8 j + b in the low nibble, 8 j + 4 + b in the high one
//   values  rows of tokens, so that a weighted sum runs along the dims; integers in quads of tokens, so that one
//           instruction multiplies four of them with their weights
//     f32, f16   [32][d rounded up to 16]
//     int8       [8][d rounded up to 16][4 tokens]         s8
//     int4       [8][ceil(d / 32)][16][4 tokens]           dims b in the low nibbles, b + 16 in the high ones
//   parameters  per (head, token), f16: scale of the key; int4: its minimum; the same of the value
//     int8: x = scale * code, codes -127 .. 127; int4: x = minimum + scale * code, codes 0 .. 15
//
// Dims that only round up hold zeros.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "vernier/tensor.h"

namespace vernier::kernels {

enum class KvType { f32, f16, int8, int4 };
std::string_view name(KvType type);
std::optional<KvType> kv_type_from_name(std::string_view name);

inline constexpr std::int64_t kPageTokens = 32;
inline constexpr std::int64_t kPanelTokens = 16;
inline constexpr std::int64_t kQuadTokens = 4;

// Where an integer page keeps dim c of a token's value, in bytes from the block's values; int4: the byte.
constexpr std::int64_t value_byte_int8(std::int64_t row_bytes, std::int64_t token, std::int64_t c) {
  return token / kQuadTokens * kQuadTokens * row_bytes + c * kQuadTokens + token % kQuadTokens;
}
constexpr std::int64_t value_byte_int4(std::int64_t row_bytes, std::int64_t token, std::int64_t c) {
  return value_byte_int8(row_bytes, token, c / 32 * 16 + c % 16);
}

// One kv head's block of a page.
struct KvBlock {
  std::byte* keys = nullptr;
  std::byte* values = nullptr;
  std::uint16_t *key_scale = nullptr, *key_minimum = nullptr;  // [kPageTokens]; null where the type has none
  std::uint16_t *value_scale = nullptr, *value_minimum = nullptr;
};

// Where things lie in a page.
class KvLayout {
 public:
  KvLayout() = default;
  KvLayout(KvType type, std::int64_t kv_heads, std::int64_t head_dim);

  KvType type() const { return type_; }
  std::int64_t kv_heads() const { return kv_heads_; }
  std::int64_t head_dim() const { return head_dim_; }
  std::int64_t panel_bytes() const { return panel_bytes_; }          // keys of 16 tokens
  std::int64_t value_row_bytes() const { return value_row_bytes_; }  // one token's value; a quad takes four times that
  std::int64_t block_bytes() const { return block_bytes_; }          // a multiple of 64
  std::int64_t page_bytes() const { return kv_heads_ * block_bytes_; }
  double bytes_per_token() const { return static_cast<double>(page_bytes()) / kPageTokens; }

  KvBlock block(std::byte* page, std::int64_t kv_head) const;

 private:
  KvType type_ = KvType::f32;
  std::int64_t kv_heads_ = 0, head_dim_ = 0;
  std::int64_t panel_bytes_ = 0, value_row_bytes_ = 0, block_bytes_ = 0;
};

// The pages of one sequence in one layer.
struct KvPages {
  KvLayout layout;
  std::byte* pool = nullptr;            // of pages; 64-byte aligned
  std::span<const std::int32_t> table;  // page t / kPageTokens of the sequence is table[...] of the pool

  KvBlock block(std::int64_t page, std::int64_t kv_head) const {
    return layout.block(pool + table[page] * layout.page_bytes(), kv_head);
  }
};

// One sequence's share of a batch: rows [row, row + tokens) at positions start .. .
struct KvSequence {
  std::int64_t row = 0, tokens = 0, start = 0;
  KvPages pages;
};

// Writes rows of k and v [rows, kv_heads * head_dim] to the pages of their sequences. Infinities and NaNs do not
// survive the integer types.
void store_kv(std::span<const KvSequence> sequences, Matrix<const float> k, Matrix<const float> v);

// What the pages hold of positions [0, k.rows), as floats.
void load_kv(const KvPages& pages, Matrix<float> k, Matrix<float> v);

}  // namespace vernier::kernels
