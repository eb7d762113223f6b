#include "methods/rtn/round.h"

#include <algorithm>

namespace vernier {

GridPart start_part(const SolveInput& input) {
  const Matrix<const float> w = input.weight;
  const Grid& grid = *input.grid;
  GridPart part{.grid = input.grid, .rows = w.rows, .cols = w.cols};
  part.codes.resize(w.rows * w.cols);
  part.params.resize((grid.per_tensor() ? 1 : w.rows * grid.groups(w.cols)) * grid.params_per_group());
  if (fits_tensor(grid)) fit_tensor(grid, *input.range, w, part.params, input.importance);
  return part;
}

void encode_row(Matrix<const float> weight, std::int64_t row, GridPart& part, std::span<float> decoded) {
  const std::int64_t group = part.grid->group_columns(part.cols);
  for (std::int64_t g = 0; g < part.groups(); ++g) {
    const std::int64_t first = g * group;
    const auto width = static_cast<std::size_t>(std::min(group, part.cols - first));
    part.grid->encode({weight.row(row) + first, width}, part.params_of(row, g),
                      {part.codes.data() + row * part.cols + first, width}, decoded.subspan(first, width));
  }
}

void round_row(const SolveInput& input, std::int64_t row, GridPart& part, std::span<float> decoded) {
  if (!fits_tensor(*part.grid)) {
    const std::int64_t count = part.groups() * part.grid->params_per_group();
    fit_row(*part.grid, *input.range, {input.weight.row(row), static_cast<std::size_t>(part.cols)}, input.importance,
            std::span(part.params).subspan(row * count, count));
  }
  encode_row(input.weight, row, part, decoded);
}

}  // namespace vernier
