// One Grid for all block types of GGUF.
#pragma once

#include <algorithm>
#include <vector>

#include "formats/gguf/search.h"
#include "formats/row_search.h"
#include "formats/shared_params.h"

namespace vernier {

// The nearest nonzero half, so that a grid never collapses; and a half that may be zero.
float stored_half(float value);
float stored_half_or_zero(float value);

class BlockGrid final : public Grid, public RowSearch, public SharedParams {
 public:
  static Result<std::unique_ptr<Grid>> make(const GridSpec& spec);

  const BlockType& type() const { return type_; }
  int params_per_group() const override { return block_params; }
  bool exact_zero() const override { return type_.exact_zero(); }
  void params_from_range(float low, float high, std::span<float> params) const override;
  bool fit(std::span<const float> values, std::span<const float> importance, std::span<float> params) const override;
  void search_row(std::span<const float> row, std::span<const float> importance,
                  std::span<float> params) const override;
  bool joint_groups() const override { return type_.joint(); }
  void settle_row(std::span<float> params, float ratio) const override;
  // d and dmin of a super-block, or of the one group that has them; none where d is a power of two.
  std::int64_t shared_groups() const override { return type_.joint() ? type_.groups() : 1; }
  std::span<const int> shared_params() const override;
  float stored_shared(int param, float value) const override {
    return param == block_d ? stored_half(value) : stored_half_or_zero(std::max(value, 0.0f));
  }
  // Scale and minimum one integer up and down.
  int nearby(std::span<const float> params, std::span<float> out) const override;
  void encode(std::span<const float> values, std::span<const float> params, std::span<std::uint8_t> codes,
              std::span<float> decoded) const override;
  void decode(std::span<const std::uint8_t> codes, std::span<const float> params, std::span<float> out) const override;
  void encode_column(std::int64_t count, const float* values, const float* const* params, std::uint8_t* codes,
                     float* decoded) const override;
  double bits_per_weight(std::int64_t rows, std::int64_t cols) const override;

 private:
  BlockGrid(const BlockType& type, GridSpec spec) : Grid(std::move(spec)), type_(type), search_(type) {}
  // Parameters of a step and an offset (value = step * level - offset), in their stored types unless groups are joint.
  void store(float step, float offset, std::span<float> params) const;

  const BlockType& type_;
  SearchType search_;
};

// A step and an offset for the values of one sub-block by search: least sum of importance-weighted squared errors over
// rescaled and refitted candidates. `importance` may be empty.
struct StepOffset {
  float step = 0, offset = 0;
};
StepOffset search_step(const SearchType& search, std::span<const float> values, std::span<const float> importance);

// Code of the level nearest to `t`, the lowest code on ties.
std::uint8_t nearest_code(const BlockType& type, float t);

// out[i] = (d * scale) * level(codes[i]) - dmin * min.
void decode_block_codes(const BlockType& type, std::span<const std::uint8_t> codes, std::span<const float> params,
                        float* out);

// The tensors a weight of blocks is stored as: blocks U8 [rows, blocks * bytes], then column_group I32 [cols] where
// columns are not grouped in order. The last block of a row may be partly used.
std::vector<StoredTensor> block_layout(const GridSpec& spec, std::int64_t rows, std::int64_t cols, bool column_groups);

// A matrix on rows x cols of blocks in somebody else's memory; `keep_alive` holds it. Sizes are checked.
Result<std::shared_ptr<const WeightMatrix>> block_matrix(const BlockType& type, std::int64_t rows, std::int64_t cols,
                                                         std::span<const std::byte> bytes,
                                                         std::shared_ptr<const void> keep_alive);

}  // namespace vernier
