// Affine integers of 2 to 8 bits: value = (code - zero) * scale. Codes are stored unsigned, code = q + 2^(b-1) for the
// signed q of the literature. Symmetric: zero = 2^(b-1), scale = 2 absmax / (2^b - 1). Asymmetric: the integer zero in
// [0, 2^b - 1] is the code of 0. Source: handbook, formats, "Integer grids"; compressed-tensors for the order of
// operations, so that codes agree bit for bit: divide, add the signed zero point, round to nearest even, clamp.
#pragma once

#include <algorithm>
#include <cmath>

#include "vernier/format.h"

namespace vernier {

// Parameters of a group, in this order.
enum IntParam { int_scale = 0, int_zero = 1, int_params = 2 };

// Values of codes, `group` columns at a time under scales[i / group] and zeros[i / group].
void dequantize_groups(const std::uint8_t* codes, std::int64_t count, std::int64_t group, const float* scales,
                       const float* zeros, float* out);
// Values of codes, code i under scales[group_of[i]] and zeros[group_of[i]].
void dequantize_gather(const std::uint8_t* codes, std::int64_t count, const std::int32_t* group_of, const float* scales,
                       const float* zeros, float* out);

class IntGrid final : public Grid {
 public:
  static Result<std::unique_ptr<Grid>> make(const GridSpec& spec);

  int params_per_group() const override { return int_params; }
  void params_from_range(float low, float high, std::span<float> params) const override;
  void encode(std::span<const float> values, std::span<const float> params, std::span<std::uint8_t> codes,
              std::span<float> decoded) const override;
  void decode(std::span<const std::uint8_t> codes, std::span<const float> params, std::span<float> out) const override;
  void encode_column(std::int64_t count, const float* values, const float* const* params, std::uint8_t* codes,
                     float* decoded) const override;
  double bits_per_weight(std::int64_t rows, std::int64_t cols) const override;

 private:
  explicit IntGrid(GridSpec spec) : Grid(std::move(spec)) {}
  float half() const { return static_cast<float>(1 << (spec_.bits - 1)); }
};

// The tensors an integer weight is stored as; shared by the grid's size formula and the storage.
std::vector<StoredTensor> int_layout(const GridSpec& spec, std::int64_t rows, std::int64_t cols, bool column_groups);

// The storage itself (FormatDescriptor has the contracts), for every grid with the parameters of IntParam.
std::vector<Tensor> int_pack(const GridPart& part);
Result<std::unique_ptr<WeightMatrix>> int_open(const GridSpec& spec, std::int64_t rows, std::int64_t cols,
                                               std::span<const TensorView> tensors);
Result<GridPart> int_unpack(const GridSpec& spec, std::int64_t rows, std::int64_t cols,
                            std::span<const TensorView> tensors);

}  // namespace vernier
