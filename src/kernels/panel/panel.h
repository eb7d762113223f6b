// Packed integer weights that kernels use in place, and their products with int8 activations.
//
// Rows are cut into panels of 16. A panel is a run of steps of 32 columns; a step of b-bit codes is b lines of 64
// bytes, and every line holds, in byte 4 * row + j, columns that are 4 apart:
//   8 bits: line l is columns 4 l + j.
//   6 bits: lines 0 to 3 are the low four bits as at 4 bits, lines 4 and 5 the top two as at 2 bits.
//   4 bits: line l is columns 8 l + j (low nibble) and 8 l + 4 + j (high nibble).
//   2 bits: line l is columns 16 l + 4 i + j at bit 2 i.
//   3 bits: lines 0 and 1 are the low two bits as at 2 bits; line 2 is the third bit of column 4 i + j at bit i.
// So one load, shift and mask give 16 rows x 4 columns, what one dot-product instruction takes. A packed matrix is
// sections that start at multiples of 64 bytes:
//   codes    [panels][steps][bits * 64]
//   scales   f32: channel scales [panels][16] (dual, plain), or group scales [panels][groups][16] (group)
//   integers u8:  dual 4 bits [panels][groups][16], s | z << 4; dual 3 and 2 bits [panels][groups][s, z][16];
//            group [panels][groups][16], z; plain [panels][16], z
// Rows are padded to 16 and columns to the group (plain: to 32) with zero bytes.
// The scheme is W4dg of Dual Grained Quantization (2023) with unsigned operands: s * q is at most 255, and zero points
// are a second, short dot product with the sums of the activations.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/panel/rows.h"
#include "vernier/format.h"
#include "vernier/status.h"

namespace vernier::kernels {

inline constexpr int kPanelLayoutVersion = 1;

// dual : w = c[n] * s[n, g] * (q - z[n, g]), small integers s and z; 4, 3 and 2 bits.
// group: w = s[n, g] * (q - z[n, g]), float s; 8, 6, 4, 3 and 2 bits.
// plain: w = c[n] * (q - z[n]); 8, 6, 4, 3 and 2 bits (ternary: codes 0..2, z = 1).
enum class PanelKind : std::uint8_t { dual, group, plain };

std::string_view name(PanelKind kind);

struct PanelSpec {
  PanelKind kind = PanelKind::dual;
  int bits = 4;
  std::int64_t rows = 0, cols = 0;
  std::int64_t group = 128;  // a multiple of 32 up to 256; unused by plain

  constexpr std::int64_t groups() const { return kind == PanelKind::plain ? 1 : (cols + group - 1) / group; }
  bool operator==(const PanelSpec&) const = default;
};

// Largest fine scale: s * (2^bits - 1) fits a byte, and at 4 bits s and z share one.
constexpr int max_fine_scale(int bits) { return bits == 4 ? 15 : bits == 3 ? 36 : 85; }

Status check(const PanelSpec& spec);              // names the field, what is wanted and what was found
std::int64_t panel_bytes(const PanelSpec& spec);  // exact size of the packed form; spec must pass check()
double panel_bits_per_weight(const PanelSpec& spec);

// What is packed. Spans are row-major; `fine` is for dual alone.
struct PanelSource {
  std::span<const std::uint8_t> codes;  // [rows, cols]
  std::span<const float> scales;        // [rows], group: [rows, groups]
  std::span<const std::uint8_t> fine;   // [rows, groups]
  std::span<const std::uint8_t> zeros;  // [rows, groups], plain: [rows]
};

// Refuses sizes that do not match, codes, zeros and fine scales out of range, scales that are not finite. `out` has
// panel_bytes(spec) bytes. Equal sources give equal bytes.
Status pack_panels(const PanelSpec& spec, const PanelSource& source, std::span<std::byte> out);

// What pack_panels() was given.
struct PanelContents {
  std::vector<std::uint8_t> codes;
  std::vector<float> scales;
  std::vector<std::uint8_t> fine;
  std::vector<std::uint8_t> zeros;
};

// A matrix on packed bytes that stay where they are (usually a mapped file).
class PanelMatrix final : public WeightMatrix {
 public:
  // `bytes` starts at a multiple of 64 and holds panel_bytes(spec). Refuses anything else, fine scales that overflow
  // the byte and scales that are not finite; codes are not read.
  static Result<std::shared_ptr<const PanelMatrix>> open(const PanelSpec& spec, std::span<const std::byte> bytes,
                                                         std::shared_ptr<const void> keep_alive);

  const PanelSpec& spec() const { return spec_; }
  std::int64_t rows() const override { return spec_.rows; }
  std::int64_t cols() const override { return spec_.cols; }
  void decode_rows(std::int64_t first, std::int64_t count, float* out) const override;
  std::int64_t stored_bytes() const override { return panel_bytes(spec_); }
  std::string format_text() const override;  // "dual int4 g128", "plain int8"
  void touch() const override;

  std::int64_t panels() const { return panels_; }
  std::int64_t padded_cols() const { return padded_cols_; }
  std::int64_t groups() const { return groups_; }
  std::int64_t group_cols() const { return padded_cols_ / groups_; }         // plain: the whole row
  std::int64_t code_bytes() const { return padded_cols_ * spec_.bits * 2; }  // of a panel
  const std::uint8_t* codes(std::int64_t panel) const { return codes_ + panel * code_bytes(); }
  const float* scales(std::int64_t panel) const { return scales_ + panel * scales_per_panel_; }
  const std::uint8_t* integers(std::int64_t panel) const { return integers_ + panel * integers_per_panel_; }

 private:
  PanelMatrix() = default;

  PanelSpec spec_;
  std::int64_t panels_ = 0, padded_cols_ = 0, groups_ = 0, scales_per_panel_ = 0, integers_per_panel_ = 0;
  const std::uint8_t* codes_ = nullptr;
  const float* scales_ = nullptr;
  const std::uint8_t* integers_ = nullptr;
  std::shared_ptr<const void> keep_alive_;
};

// What the panels were packed from, in parallel over panels. Codes are as they are stored: damaged bytes can give more
// than the grid has.
PanelContents unpack_panels(const PanelMatrix& panels);

// How the activations of products with `weight` are usually quantized: in groups where it has float scales per group.
RowsFormat rows_format(const PanelMatrix& weight);

// y = x w^T + bias; x [tokens, cols] with weight's group (plain: any), y [tokens, rows]. Integer sums are exact and
// float operations are in one fixed order: the same bits on every instruction set and at any thread count. Parallel
// over panels.
//   dual, plain: y = float(sum) * c[n] * a[m] + bias[n]
//   group:       y = fma over g of float(sum[g]), s[n, g] * a[m, g]; + bias[n]
void panel_linear(const QuantizedRows& x, const PanelMatrix& weight, std::span<const float> bias, Matrix<float> y);

}  // namespace vernier::kernels
