#include "methods/rtn/round.h"

#include <algorithm>

namespace vernier {

GridPart start_part(const SolveInput& input) {
  const Matrix<const float> w = input.weight;
  const Grid& grid = *input.grid;
  GridPart part{.grid = input.grid, .rows = w.rows, .cols = w.cols};
  part.codes.resize(w.rows * w.cols);
  part.params.resize((grid.per_tensor() ? 1 : w.rows * grid.groups(w.cols)) * grid.params_per_group());
  if (!grid.per_tensor()) return part;
  if (w.stride == w.cols) {
    input.range->fit(grid, {w.data, static_cast<std::size_t>(w.rows * w.cols)}, {}, part.params);
    return part;
  }
  std::vector<float> values(w.rows * w.cols);
  for (std::int64_t r = 0; r < w.rows; ++r) std::copy_n(w.row(r), w.cols, values.data() + r * w.cols);
  input.range->fit(grid, values, {}, part.params);
  return part;
}

void round_row(const SolveInput& input, std::int64_t row, GridPart& part, std::span<float> decoded) {
  const Grid& grid = *part.grid;
  const std::int64_t group = grid.group_columns(part.cols), groups = part.groups();
  const auto count = static_cast<std::size_t>(grid.params_per_group());
  for (std::int64_t g = 0; g < groups; ++g) {
    const std::int64_t first = g * group;
    const auto width = static_cast<std::size_t>(std::min(group, part.cols - first));
    const std::span<const float> values(input.weight.row(row) + first, width);
    const std::span<float> params(part.params.data() + (grid.per_tensor() ? 0 : (row * groups + g) * count), count);
    if (!grid.per_tensor()) input.range->fit(grid, values, {}, params);
    grid.encode(values, params, {part.codes.data() + row * part.cols + first, width}, decoded.subspan(first, width));
  }
}

}  // namespace vernier
