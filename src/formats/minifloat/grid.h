// Weights in small floats under scales:
//   fp8    E4M3; a scale per tensor, channel, group of columns, or block of rows and columns
//   nvfp4  E2M1 in groups of 16; a scale per group in E4M3, divided by one float of the tensor
// Source: handbook, formats, "NVFP4", "compressed-tensors"; the order of operations is compressed-tensors'. (MXFP4 is
// the GGUF block type of that name: the same values.)
#pragma once

#include <memory>
#include <vector>

#include "vernier/format.h"

namespace vernier {

// Parameters of a group, in this order. nvfp4 has both: a code stands for value * (scale / divisor).
enum MinifloatParam { minifloat_scale = 0, minifloat_divisor = 1 };

class MinifloatGrid final : public Grid {
 public:
  static Result<std::unique_ptr<Grid>> make(const GridSpec& spec);

  int params_per_group() const override { return four_bits() ? 2 : 1; }
  void params_from_range(float low, float high, std::span<float> params) const override;
  std::int64_t joint_rows() const override { return four_bits() ? 0 : spec_.group_rows; }
  void settle_rows(std::int64_t rows, std::span<float> params) const override;
  void encode(std::span<const float> values, std::span<const float> params, std::span<std::uint8_t> codes,
              std::span<float> decoded) const override;
  void decode(std::span<const std::uint8_t> codes, std::span<const float> params, std::span<float> out) const override;
  void encode_column(std::int64_t count, const float* values, const float* const* params, std::uint8_t* codes,
                     float* decoded) const override;
  double bits_per_weight(std::int64_t rows, std::int64_t cols) const override;

 private:
  explicit MinifloatGrid(GridSpec spec) : Grid(std::move(spec)) {}
  bool four_bits() const { return spec_.bits == 4; }
};

// The one spec of nvfp4; its scale_dtype is that of the tensor's float.
GridSpec nvfp4_spec();

std::vector<StoredTensor> minifloat_layout(const GridSpec& spec, std::int64_t rows, std::int64_t cols,
                                           bool column_groups);

// A weight of small floats as files hold it, in somebody else's memory.
struct MinifloatTensors {
  // fp8 and nvfp4, or the GGUF block type mxfp4 in this other layout.
  GridSpec spec;
  std::int64_t rows = 0, cols = 0;
  // E4M3: a byte each, [rows, cols]. E2M1: nibbles [rows, ceil(cols / 2)], the even column low.
  std::span<const std::byte> codes;
  // [ceil(rows / group_rows), groups], one element per tensor. Floats; E4M3 for nvfp4; U8 is E8M0.
  TensorView scale;
  float divisor = 1;
  std::vector<std::int32_t> column_group;  // [cols], or empty

  std::int64_t groups() const { return spec.group > 0 ? (cols + spec.group - 1) / spec.group : 1; }
};

// `tensors` has consistent sizes; `keep_alive` holds its memory.
std::shared_ptr<const WeightMatrix> minifloat_matrix(MinifloatTensors tensors, std::int64_t stored_bytes,
                                                     std::shared_ptr<const void> keep_alive);
// Its codes and parameters. Errors: a code or a scale that is no finite number, with its row.
Result<GridPart> minifloat_part(const MinifloatTensors& tensors);

// The stored bytes of a part's codes, and of its scales in `dtype` (f8_e4m3 for nvfp4, u8 for E8M0).
void store_minifloat_codes(const GridPart& part, std::span<std::byte> out);
void store_minifloat_scales(const GridPart& part, DType dtype, std::span<std::byte> out);

}  // namespace vernier
