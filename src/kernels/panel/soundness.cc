#include "kernels/panel/soundness.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "base/vectorize.h"
#include "kernels/panel/layout.h"

namespace vernier::kernels {
namespace {

// Whether one of the 2-bit codes in `bytes` is `code`.
VN_VECTORIZED bool contains(const std::uint8_t* __restrict bytes, std::int64_t count, std::uint8_t code) {
  const auto repeated = static_cast<std::uint8_t>(code * 0x55);
  std::uint8_t found = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const auto differs = static_cast<std::uint8_t>(bytes[i] ^ repeated);
    found |= static_cast<std::uint8_t>(~(differs | differs >> 1) & 0x55);
  }
  return found != 0;
}

// Whether a panel without padding can be told to hold allowed codes only, without taking them apart.
bool clean(const PanelMatrix& matrix, std::int64_t panel, const AllowedCodes& allowed) {
  const PanelSpec& spec = matrix.spec();
  if (spec.bits != 2 || spec.cols != matrix.padded_cols() || (panel + 1) * kPanelRows > spec.rows) return false;
  return std::none_of(allowed.left_out().begin(), allowed.left_out().end(),
                      [&](std::uint8_t code) { return contains(matrix.codes(panel), matrix.code_bytes(), code); });
}

std::optional<Unsound> unsound_params(const PanelMatrix& matrix, std::int64_t row) {
  const PanelSpec& spec = matrix.spec();
  const std::int64_t panel = row / kPanelRows, lane = row % kPanelRows;
  const int top = (1 << spec.bits) - 1;
  for (std::int64_t g = 0; g < matrix.groups(); ++g) {
    const int zero = fine_grid(spec, matrix.integers(panel) + g * integer_bytes(spec), lane).zero;
    if (zero > top)
      return Unsound{fmt::format("zero point of row {}, group {}", row, g), fmt::format("0 to {}", top),
                     fmt::format("{}", zero)};
    if (spec.kind == PanelKind::dual) continue;  // whose rows of zeros have a scale of 0
    const float scale = matrix.scales(panel)[spec.kind == PanelKind::group ? g * kPanelRows + lane : lane];
    if (auto bad = unsound_scale({&scale, 1}, ScaleRule::not_zero, row)) {
      bad->what = fmt::format("scale of row {}, group {}", row, g);
      return bad;
    }
  }
  return std::nullopt;
}

}  // namespace

std::optional<Unsound> unsound_panels(const PanelMatrix& matrix, std::int64_t first, std::int64_t count,
                                      const AllowedCodes& allowed) {
  std::vector<std::uint8_t> codes(allowed.all() ? 0 : matrix.cols());
  std::int64_t known_clean = -1;
  for (std::int64_t r = first; r < first + count; ++r) {
    if (auto bad = unsound_params(matrix, r)) return bad;
    const std::int64_t panel = r / kPanelRows;
    if (allowed.all() || panel == known_clean) continue;
    if (clean(matrix, panel, allowed)) {
      known_clean = panel;
      continue;
    }
    for (std::int64_t c = 0; c < matrix.cols(); ++c)
      codes[c] = static_cast<std::uint8_t>(get_code(matrix.spec().bits, matrix.codes(panel), r % kPanelRows, c));
    if (auto bad = unsound_code(codes, allowed, r)) return bad;
  }
  return std::nullopt;
}

}  // namespace vernier::kernels
