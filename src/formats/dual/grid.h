// Dual-grained integers of 4, 3 and 2 bits: value = coarse * (fine * (code - zero)), a float coarse scale for the row
// and an integer fine scale for each group, so that fine * code is an unsigned byte and a row is one integer dot
// product. Source: Dual Grained Quantization (2023); handbook, kernels, 1.2 "Format W4dg".
//
// No-overflow rule: fine * (2^bits - 1) <= 255. Fine scales reach 15, 36 and 85 at 4, 3 and 2 bits (17 would be allowed
// at 4 bits; 15 lets the fine scale and the zero of a group share a byte).
#pragma once

#include "vernier/format.h"

namespace vernier {

// Parameters of a group, in this order. Fine scale and zero are whole numbers; coarse is the same in all groups of a
// settled row.
enum DualParam { dual_coarse = 0, dual_fine = 1, dual_zero = 2, dual_params = 3 };

constexpr float dual_coarse_max = 0x1p119f;  // 255 of them are finite

constexpr int dual_levels(int bits) { return (1 << bits) - 1; }
constexpr int dual_fine_max(int bits) { return bits == 4 ? 15 : 255 / dual_levels(bits); }
constexpr int dual_fine_bits(int bits) { return bits == 4 ? 4 : bits == 3 ? 6 : 7; }  // hold dual_fine_max

// Values of codes that share their parameters.
void dual_values(const std::uint8_t* codes, std::int64_t count, float coarse, float fine, float zero, float* out);

class DualGrid final : public Grid {
 public:
  static Result<std::unique_ptr<Grid>> make(const GridSpec& spec);

  int params_per_group() const override { return dual_params; }
  void params_from_range(float low, float high, std::span<float> params) const override;
  bool joint_groups() const override { return true; }
  void settle_row(std::span<float> params, float ratio) const override;
  void encode(std::span<const float> values, std::span<const float> params, std::span<std::uint8_t> codes,
              std::span<float> decoded) const override;
  void decode(std::span<const std::uint8_t> codes, std::span<const float> params, std::span<float> out) const override;
  void encode_column(std::int64_t count, const float* values, const float* const* params, std::uint8_t* codes,
                     float* decoded) const override;
  double bits_per_weight(std::int64_t rows, std::int64_t cols) const override;

 private:
  explicit DualGrid(GridSpec spec) : Grid(std::move(spec)) {}
  float levels() const { return static_cast<float>(dual_levels(spec_.bits)); }
  float fine_max() const { return static_cast<float>(dual_fine_max(spec_.bits)); }
};

// The tensors a dual-grained weight is stored as; shared by the grid's size formula and the storage.
std::vector<StoredTensor> dual_layout(const GridSpec& spec, std::int64_t rows, std::int64_t cols, bool column_groups);

}  // namespace vernier
