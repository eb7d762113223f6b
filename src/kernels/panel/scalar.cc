// The reference: every other kernel gives the bits of this one.
#include <algorithm>
#include <cmath>

#include "kernels/panel/kernels.h"
#include "kernels/scratch.h"

namespace vernier::kernels {
namespace {

std::int32_t dot(const std::uint8_t* q, const std::int8_t* x, std::int64_t n) {
  std::int32_t sum = 0;
  for (std::int64_t k = 0; k < n; ++k) sum += q[k] * x[k];
  return sum;
}

// One output from the codes of its row.
float product(const PanelTask& task, std::int64_t panel, std::int64_t row, const std::uint8_t* codes,
              std::int64_t token) {
  const PanelMatrix& w = task.w;
  const std::int8_t* x = task.x.codes(token);
  const std::int32_t* sums = task.x.sum_pairs(token);
  const bool grouped = w.spec().kind == PanelKind::group, plain = w.spec().kind == PanelKind::plain;
  std::int32_t sum = 0;
  float y = 0;
  for (std::int64_t g = 0; g < w.groups(); ++g) {
    const FineGrid fine = fine_grid(w.spec(), w.integers(panel) + g * integer_bytes(w.spec()), row);
    const std::int32_t group_sum =
        plain ? task.x.total(token) : static_cast<std::int16_t>(sums[g / 2] >> (g % 2 * 16) & 0xFFFF);
    const std::int32_t centred =
        dot(codes + g * w.group_cols(), x + g * w.group_cols(), w.group_cols()) - fine.zero * group_sum;
    if (grouped) {
      const float scale = w.scales(panel)[g * kPanelRows + row] * task.x.scales(token)[g * task.x.scale_step()];
      y = std::fma(static_cast<float>(centred), scale, y);
    } else {
      sum += fine.scale * centred;
    }
  }
  if (!grouped) y = static_cast<float>(sum) * w.scales(panel)[row] * task.x.scales(token)[0];
  const std::int64_t r = panel * kPanelRows + row;
  return task.bias.empty() ? y : y + task.bias[r];
}

}  // namespace

void panels_scalar(const PanelTask& task, const PanelRange& range) {
  static thread_local Scratch<std::uint8_t> scratch;
  const PanelMatrix& w = task.w;
  std::uint8_t* codes = scratch.get(w.padded_cols());
  for (std::int64_t r = range.first_panel * kPanelRows; r < std::min(w.rows(), range.last_panel * kPanelRows); ++r) {
    const std::int64_t panel = r / kPanelRows, row = r % kPanelRows;
    for (std::int64_t c = 0; c < w.padded_cols(); ++c)
      codes[c] = static_cast<std::uint8_t>(get_code(w.spec().bits, w.codes(panel), row, c));
    for (std::int64_t t = range.first_token; t < range.last_token; ++t)
      task.y(t, r) = product(task, panel, row, codes, t);
  }
}

}  // namespace vernier::kernels
