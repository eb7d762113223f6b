#include "methods/dgq/search.h"

#include <algorithm>
#include <limits>

#include "base/threads.h"
#include "kernels/dot/dot.h"
#include "kernels/ops.h"

namespace vernier::dgq {
namespace {

constexpr std::int64_t tile_rows = 8;  // with 80 candidates each: errors of a group of 128 are 320 KB, in L2

float between(double first, double last, int step, int steps) {
  return static_cast<float>(steps > 1 ? first + (last - first) * step / (steps - 1) : first);
}

// Searches a few rows. Candidate k of row r is row r * candidates + k of the matrices of errors.
class TileSearch {
 public:
  TileSearch(Matrix<const float> hessian, const Grid& grid, const SearchSettings& settings, Matrix<const float> weight,
             std::span<float> params)
      : hessian_(hessian),
        grid_(grid),
        settings_(settings),
        params_(params),
        rows_(weight.rows),
        cols_(weight.cols),
        group_(std::min(grid.group_columns(cols_), cols_)),
        groups_(grid.groups(cols_)),
        count_(grid.params_per_group()),
        weight_(rows_ * cols_),
        codes_(group_) {
    for (std::int64_t r = 0; r < rows_; ++r)
      for (std::int64_t c = 0; c < cols_; ++c) weight_[r * cols_ + c] = hessian(c, c) > 0 ? weight(r, c) : 0.0f;
  }

  void run() {
    for (std::int64_t g = 0; g < groups_; ++g) choose_ranges(g);
    if (grid_.joint_groups()) choose_coarse();
  }

 private:
  void choose_ranges(std::int64_t group);
  void choose_coarse();
  std::span<const float> values(std::int64_t row, std::int64_t group) const {
    const std::int64_t first = group * group_;
    return {weight_.data() + row * cols_ + first, static_cast<std::size_t>(std::min(group_, cols_ - first))};
  }
  std::span<float> params_of(std::int64_t row, std::int64_t group) {
    return params_.subspan((row * groups_ + group) * count_, count_);
  }
  // errors_ row `at` = rounded - weight, [width of the group].
  void round_group(std::int64_t row, std::int64_t group, std::span<const float> params, std::int64_t at);
  // sums[i] += e_i H_gg e_i^T for every row i of errors_.
  void add_errors(std::int64_t group, std::span<double> sums);

  Matrix<const float> hessian_;
  const Grid& grid_;
  const SearchSettings& settings_;
  std::span<float> params_;
  std::int64_t rows_, cols_, group_, groups_;
  int count_;
  std::vector<float> weight_, errors_, products_;
  std::vector<std::uint8_t> codes_;
};

void TileSearch::round_group(std::int64_t row, std::int64_t group, std::span<const float> params, std::int64_t at) {
  const std::span<const float> w = values(row, group);
  float* const error = errors_.data() + at * static_cast<std::int64_t>(w.size());
  grid_.encode(w, params, {codes_.data(), w.size()}, {error, w.size()});
  for (std::size_t c = 0; c < w.size(); ++c) error[c] -= w[c];
}

void TileSearch::add_errors(std::int64_t group, std::span<double> sums) {
  static const kernels::Dot dot = kernels::dot_kernel();
  const auto count = static_cast<std::int64_t>(sums.size());
  const std::int64_t first = group * group_, width = std::min(group_, cols_ - first);
  const Matrix<const float> errors(errors_.data(), count, width);
  products_.resize(count * std::min(width, block_columns));
  for (std::int64_t c = 0; c < width; c += block_columns) {
    const std::int64_t n = std::min(block_columns, width - c);
    const Matrix<const float> block = errors.cols_slice(c, n);
    const Matrix<float> product(products_.data(), count, n);
    kernels::sgemm(block, hessian_.rows_slice(first + c, n).cols_slice(first + c, n), false, product);
    for (std::int64_t i = 0; i < count; ++i) sums[i] += dot(product.row(i), block.row(i), n);
  }
}

// Phase 1: the range whose grid errs least, group by group.
void TileSearch::choose_ranges(std::int64_t group) {
  const int steps = settings_.range_steps;
  std::vector<float> trials(rows_ * steps * count_);
  std::vector<double> sums(rows_ * steps, 0.0);
  errors_.resize(rows_ * steps * values(0, group).size());
  for (std::int64_t r = 0; r < rows_; ++r) {
    const std::span<const float> w = values(r, group);
    const auto [least, most] = std::minmax_element(w.begin(), w.end());
    const float low = std::min(*least, 0.0f), high = std::max(*most, 0.0f);
    for (int i = 0; i < steps; ++i) {
      const float ratio = range_ratio(settings_, i);
      const std::span<float> trial(trials.data() + (r * steps + i) * count_, count_);
      grid_.params_from_range(ratio * low, ratio * high, trial);
      round_group(r, group, trial, r * steps + i);
    }
  }
  add_errors(group, sums);
  for (std::int64_t r = 0; r < rows_; ++r) {
    const auto first = sums.begin() + r * steps;
    const std::int64_t best = std::min_element(first, first + steps) - sums.begin();
    std::copy_n(trials.data() + best * count_, count_, params_of(r, group).data());
  }
}

// Phase 2: the coarse scale under which the groups of a row err least together, their ranges kept as far as integer
// fine scales allow.
void TileSearch::choose_coarse() {
  const int steps = settings_.coarse_steps;
  const std::int64_t row_params = groups_ * count_;
  std::vector<float> trials(rows_ * steps * row_params);
  std::vector<double> sums(rows_ * steps, 0.0);
  const auto trial = [&](std::int64_t i) { return std::span(trials).subspan(i * row_params, row_params); };
  for (std::int64_t i = 0; i < rows_ * steps; ++i) {
    std::copy_n(params_.data() + i / steps * row_params, row_params, trial(i).data());
    grid_.settle_row(trial(i), coarse_ratio(settings_, static_cast<int>(i % steps)));
  }
  for (std::int64_t g = 0; g < groups_; ++g) {
    errors_.resize(rows_ * steps * values(0, g).size());
    for (std::int64_t i = 0; i < rows_ * steps; ++i) round_group(i / steps, g, trial(i).subspan(g * count_, count_), i);
    add_errors(g, sums);
  }
  for (std::int64_t r = 0; r < rows_; ++r) {
    const auto first = sums.begin() + r * steps;
    const std::int64_t best = std::min_element(first, first + steps) - sums.begin();
    std::copy_n(trial(best).data(), row_params, params_.data() + r * row_params);
  }
}

}  // namespace

float range_ratio(const SearchSettings& settings, int step) {
  return between(1.009, settings.least_range, step, settings.range_steps);
}

float coarse_ratio(const SearchSettings& settings, int step) {
  return between(settings.most_coarse, settings.least_coarse, step, settings.coarse_steps);
}

std::vector<float> search_params(Matrix<const float> weight, Matrix<const float> hessian, const Grid& grid,
                                 const SearchSettings& settings) {
  const std::int64_t per_row = grid.groups(weight.cols) * grid.params_per_group();
  std::vector<float> params(weight.rows * per_row);
  parallel_ranges(weight.rows, tile_rows, [&](std::int64_t first, std::int64_t last) {
    const std::int64_t rows = last - first;
    TileSearch(hessian, grid, settings, weight.rows_slice(first, rows),
               std::span(params).subspan(first * per_row, rows * per_row))
        .run();
  });
  return params;
}

std::int64_t search_bytes(std::int64_t rows, std::int64_t cols, const SearchSettings& settings) {
  // For groups of 32 columns or more with up to four parameters: a copy of them per coarse scale, and per candidate the
  // errors of a group as wide as the row with their products.
  const std::int64_t params = cols / 8 + 4, candidates = std::max(settings.range_steps, settings.coarse_steps);
  const std::int64_t tile = tile_rows * (cols + candidates * (params + cols + block_columns));
  const std::int64_t tiles = std::min<std::int64_t>(thread_count(), (rows + tile_rows - 1) / tile_rows);
  return static_cast<std::int64_t>(sizeof(float)) * (rows * params + tiles * tile);
}

}  // namespace vernier::dgq
