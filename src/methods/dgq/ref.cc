#include "methods/dgq/ref.h"

#include <algorithm>
#include <limits>

namespace vernier::dgq {
namespace {

// e H_gg e^T, e = Q(w) - w over the columns of group g.
double group_error(Matrix<const float> weight, std::int64_t row, Matrix<const float> hessian, const Grid& grid,
                   std::int64_t g, std::span<const float> params) {
  const std::int64_t first = g * grid.group_columns(weight.cols);
  const std::int64_t last = std::min(weight.cols, first + grid.group_columns(weight.cols));
  std::vector<double> e(last - first);
  for (std::int64_t c = first; c < last; ++c) {
    std::uint8_t code;
    float rounded;
    grid.encode({weight.row(row) + c, 1}, params, {&code, 1}, {&rounded, 1});
    e[c - first] = double{rounded} - weight(row, c);
  }
  double sum = 0;
  for (std::int64_t i = first; i < last; ++i)
    for (std::int64_t j = first; j < last; ++j) sum += e[i - first] * hessian(i, j) * e[j - first];
  return sum;
}

}  // namespace

double reference_error(Matrix<const float> weight, std::int64_t row, Matrix<const float> hessian, const Grid& grid,
                       std::span<const float> params) {
  const std::size_t count = grid.params_per_group();
  double sum = 0;
  for (std::int64_t g = 0; g < grid.groups(weight.cols); ++g)
    sum += group_error(weight, row, hessian, grid, g, params.subspan(g * count, count));
  return sum;
}

std::vector<float> reference_ranges(Matrix<const float> weight, std::int64_t row, Matrix<const float> hessian,
                                    const Grid& grid, const SearchSettings& settings) {
  const std::int64_t group = grid.group_columns(weight.cols);
  std::vector<float> all, trial(grid.params_per_group()), best(grid.params_per_group());
  for (std::int64_t g = 0; g < grid.groups(weight.cols); ++g) {
    float low = 0, high = 0;
    for (std::int64_t c = g * group; c < std::min(weight.cols, (g + 1) * group); ++c) {
      low = std::min(low, weight(row, c));
      high = std::max(high, weight(row, c));
    }
    double least = std::numeric_limits<double>::infinity();
    for (int i = 0; i < settings.range_steps; ++i) {
      const float r = range_ratio(settings, i);
      grid.params_from_range(r * low, r * high, trial);
      const double error = group_error(weight, row, hessian, grid, g, trial);
      if (error >= least) continue;
      least = error;
      best = trial;
    }
    all.insert(all.end(), best.begin(), best.end());
  }
  return all;
}

std::vector<float> reference_coarse(Matrix<const float> weight, std::int64_t row, Matrix<const float> hessian,
                                    const Grid& grid, const std::vector<float>& ranges,
                                    const SearchSettings& settings) {
  std::vector<float> best;
  double least = std::numeric_limits<double>::infinity();
  for (int i = 0; i < settings.coarse_steps; ++i) {
    std::vector<float> trial = ranges;
    grid.settle_row(trial, coarse_ratio(settings, i));
    const double error = reference_error(weight, row, hessian, grid, trial);
    if (error >= least) continue;
    least = error;
    best = trial;
  }
  return best;
}

}  // namespace vernier::dgq
