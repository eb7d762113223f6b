// Where things lie in a packed matrix; panel.h has the description.
#pragma once

#include <cstdint>

#include "kernels/panel/panel.h"

namespace vernier::kernels {

inline constexpr std::int64_t kPanelRows = 16;
inline constexpr std::int64_t kStepCols = 32;
inline constexpr std::int64_t kLineBytes = 64;
// Sums of 256 codes of +-127 fit i16, and 65536 * 255 * 127 fits i32.
inline constexpr std::int64_t kMaxGroup = 256;
inline constexpr std::int64_t kMaxCols = 65536;

constexpr std::int64_t round_up(std::int64_t n, std::int64_t unit) { return (n + unit - 1) / unit * unit; }

// Bytes of u8 integers of one panel and group.
constexpr std::int64_t integer_bytes(const PanelSpec& spec) {
  return spec.kind == PanelKind::dual && spec.bits != 4 ? 2 * kPanelRows : kPanelRows;
}

struct PanelSections {
  std::int64_t panels, padded_cols, groups;
  std::int64_t scales_per_panel, integers_per_panel;   // numbers
  std::int64_t scales_offset, integers_offset, total;  // bytes
};

constexpr PanelSections sections(const PanelSpec& spec) {
  PanelSections s{};
  s.panels = round_up(spec.rows, kPanelRows) / kPanelRows;
  s.groups = spec.groups();
  s.padded_cols = spec.kind == PanelKind::plain ? round_up(spec.cols, kStepCols) : s.groups * spec.group;
  s.scales_per_panel = spec.kind == PanelKind::group ? s.groups * kPanelRows : kPanelRows;
  s.integers_per_panel = s.groups * integer_bytes(spec);
  s.scales_offset = s.panels * s.padded_cols * spec.bits * 2;
  s.integers_offset = s.scales_offset + s.panels * s.scales_per_panel * 4;
  s.total = round_up(s.integers_offset + s.panels * s.integers_per_panel, kLineBytes);
  return s;
}

// A code in the lines of its step, at column `col` of the step. Codes are set in zeroed memory.
constexpr int get_code_of_step(int bits, const std::uint8_t* step, std::int64_t row, std::int64_t col) {
  const std::uint8_t* const at = step + 4 * row + col % 4;
  const std::int64_t quad = col / 4;
  if (bits == 8) return at[quad * kLineBytes];
  if (bits == 6) return get_code_of_step(4, step, row, col) | get_code_of_step(2, step + 4 * kLineBytes, row, col) << 4;
  if (bits == 4) return at[quad / 2 * kLineBytes] >> (quad % 2 * 4) & 15;
  const int low = at[quad / 4 * kLineBytes] >> (quad % 4 * 2) & 3;
  return bits == 2 ? low : low | (at[2 * kLineBytes] >> quad & 1) << 2;
}

constexpr void set_code_of_step(int bits, std::uint8_t* step, std::int64_t row, std::int64_t col, int code) {
  std::uint8_t* const at = step + 4 * row + col % 4;
  const std::int64_t quad = col / 4;
  if (bits == 8) {
    at[quad * kLineBytes] = code;
  } else if (bits == 6) {
    set_code_of_step(4, step, row, col, code & 15);
    set_code_of_step(2, step + 4 * kLineBytes, row, col, code >> 4);
  } else if (bits == 4) {
    at[quad / 2 * kLineBytes] |= code << (quad % 2 * 4);
  } else {
    at[quad / 4 * kLineBytes] |= (code & 3) << (quad % 4 * 2);
    if (bits == 3) at[2 * kLineBytes] |= code >> 2 << quad;
  }
}

constexpr int get_code(int bits, const std::uint8_t* panel, std::int64_t row, std::int64_t col) {
  return get_code_of_step(bits, panel + col / kStepCols * bits * kLineBytes, row, col % kStepCols);
}
constexpr void set_code(int bits, std::uint8_t* panel, std::int64_t row, std::int64_t col, int code) {
  set_code_of_step(bits, panel + col / kStepCols * bits * kLineBytes, row, col % kStepCols, code);
}

// Fine scale (dual; else 1) and zero point of one row of a panel, from the integers of its panel and group.
struct FineGrid {
  int scale, zero;
};
constexpr FineGrid fine_grid(const PanelSpec& spec, const std::uint8_t* integers, std::int64_t row) {
  if (spec.kind != PanelKind::dual) return {1, integers[row]};
  if (spec.bits == 4) return {integers[row] & 15, integers[row] >> 4};
  return {integers[row], integers[kPanelRows + row]};
}

}  // namespace vernier::kernels
