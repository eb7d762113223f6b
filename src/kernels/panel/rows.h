// int8 activations of some tokens, in the order the panel kernels read them.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "base/cpu.h"
#include "kernels/scratch.h"
#include "vernier/tensor.h"

namespace vernier::kernels {

struct RowsFormat {
  std::int64_t group = 128;           // columns of one sum, a multiple of 32 up to 256
  bool per_group = false;             // one scale per group of a token instead of one per token
  std::optional<float> static_scale;  // for all tokens; not with per_group

  bool operator==(const RowsFormat&) const = default;
};

// Symmetric: scale = amax / 127 (or the static one), codes round(x / scale) to nearest, ties to even, within +-127.
// A token without finite range (all zero) has scale 0 and codes 0. Columns are padded to the group, and to 64, with
// zeros, tokens to the block.
//
// Code (t, k) is at byte ((t / B) * (padded_cols / U) + k / U) * B * U + (t % B) * U + k % U: blocks of B tokens by
// units of U columns. B and U follow from the instruction set and the number of tokens: the four bytes of a unit of 4
// are one broadcast operand, a block of 16 x 64 is one tile.
class QuantizedRows {
 public:
  // Room for `tokens` rows of `cols` columns; keeps its memory between uses. Every row is then written by
  // quantize_row, rows in any order and by any worker.
  void reset(std::int64_t tokens, std::int64_t cols, const RowsFormat& format);
  void quantize_row(std::int64_t token, const float* x);

  std::int64_t tokens() const { return tokens_; }
  std::int64_t cols() const { return cols_; }
  std::int64_t padded_cols() const { return padded_cols_; }
  const RowsFormat& format() const { return format_; }
  Isa isa() const { return isa_; }                             // whose kernels read these codes
  std::int64_t block_tokens() const { return block_tokens_; }  // B
  std::int64_t unit_cols() const { return unit_cols_; }        // U

  // Codes of the block of `token`, and its bytes.
  const std::int8_t* codes(std::int64_t token) const { return codes_ + token / block_tokens_ * block_bytes(); }
  std::int64_t block_bytes() const { return padded_cols_ * block_tokens_; }
  // Sums of codes over groups, as pairs (S[2 p], S[2 p + 1]) of i16 in [block][pair][B]: of the block of `token`.
  const std::int32_t* sum_pairs(std::int64_t token) const {
    return sum_pairs_ + token / block_tokens_ * pairs_ * block_tokens_;
  }
  std::int64_t pairs() const { return pairs_; }
  std::int32_t total(std::int64_t token) const { return totals_[token]; }  // sum of all codes of a token
  // Scale of group g of token t is scales(t)[g * scale_step()].
  const float* scales(std::int64_t token) const { return scales_ + token * scales_per_token_; }
  std::int64_t scale_step() const { return format_.per_group ? 1 : 0; }

 private:
  std::int64_t tokens_ = 0, cols_ = 0, padded_cols_ = 0, groups_ = 0, pairs_ = 0;
  std::int64_t block_tokens_ = 1, unit_cols_ = 4, scales_per_token_ = 1;
  RowsFormat format_;
  Isa isa_ = Isa::scalar;
  Scratch<std::int8_t> code_memory_;
  Scratch<std::int32_t> sum_memory_, total_memory_;
  Scratch<float> scale_memory_;
  std::int8_t* codes_ = nullptr;
  std::int32_t* sum_pairs_ = nullptr;
  std::int32_t* totals_ = nullptr;
  float* scales_ = nullptr;
};

// All rows of x; parallel over tokens.
void quantize_rows(Matrix<const float> x, const RowsFormat& format, QuantizedRows& out);

// The same of rms_norm(x) and of silu(gate) * up, whose floats are never written out.
void quantize_norm_rows(Matrix<const float> x, std::span<const float> weight, float eps, float unit_offset,
                        const RowsFormat& format, QuantizedRows& out);
void quantize_product_rows(Matrix<const float> gate, Matrix<const float> up, bool silu, const RowsFormat& format,
                           QuantizedRows& out);

}  // namespace vernier::kernels
