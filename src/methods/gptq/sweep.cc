#include "methods/gptq/sweep.h"

#include <algorithm>

#include "base/vectorize.h"
#include "kernels/ops.h"

namespace vernier::gptq {
namespace {

// One block of columns, transposed: rows of the tile are contiguous, so that every inner loop is over rows.
using Column = float[tile_rows];

// error = (weight - rounded) / pivot; loss += error^2.
VN_VECTORIZED void column_error(const float* __restrict weight, const float* __restrict rounded, float pivot,
                                float* __restrict error, double* __restrict loss) {
  for (std::int64_t r = 0; r < tile_rows; ++r) {
    error[r] = (weight[r] - rounded[r]) / pivot;
    loss[r] += static_cast<double>(error[r]) * error[r];
  }
}

// columns[j] -= error * u[j].
VN_VECTORIZED void feed_error(const float* __restrict error, const float* __restrict u, std::int64_t count,
                              Column* __restrict columns) {
  for (std::int64_t j = 0; j < count; ++j)
    for (std::int64_t r = 0; r < tile_rows; ++r) columns[j][r] -= error[r] * u[j];
}

class TileSweep {
 public:
  TileSweep(const SweepPlan& plan, const SweepTile& tile)
      : plan_(plan), tile_(tile), rows_(tile.weight.rows), params_(plan.grid.params_per_group()) {
    std::int64_t widest = 0;
    for (std::size_t b = 0; b + 1 < plan.cuts.size(); ++b) widest = std::max(widest, plan.cuts[b + 1] - plan.cuts[b]);
    storage_.resize(3 * widest * tile_rows);
    live_ = reinterpret_cast<Column*>(storage_.data());
    rounded_ = live_ + widest;
    error_ = rounded_ + widest;
    codes_.resize(widest * tile_rows);
  }

  void run() {
    for (std::size_t b = 0; b + 1 < plan_.cuts.size(); ++b) run_block(plan_.cuts[b], plan_.cuts[b + 1]);
    std::copy_n(loss_, rows_, tile_.loss.begin());
  }

 private:
  void run_block(std::int64_t first, std::int64_t last);
  void fit_group(std::int64_t position, std::int64_t first, std::int64_t last);
  void feed_later_blocks(std::int64_t first, std::int64_t last);

  const SweepPlan& plan_;
  const SweepTile& tile_;
  std::int64_t rows_;
  int params_;
  std::vector<float> storage_;
  Column *live_, *rounded_, *error_;  // [widest block] each
  std::vector<std::uint8_t> codes_;   // [widest block, tile_rows]
  double loss_[tile_rows] = {};
};

void TileSweep::run_block(std::int64_t first, std::int64_t last) {
  const bool fits = !plan_.order.fitted_first && !plan_.grid.per_tensor();
  const std::int64_t width = last - first;
  std::vector<const float*> params(params_);
  for (std::int64_t r = 0; r < rows_; ++r)
    for (std::int64_t j = 0; j < width; ++j) live_[j][r] = tile_.weight(r, first + j);
  for (std::int64_t i = 0; i < width; ++i) {
    const std::int64_t position = first + i;
    const std::int32_t group = plan_.order.group[position];
    if (fits && (position == 0 || plan_.order.group[position - 1] != group)) fit_group(position, first, last);
    for (int p = 0; p < params_; ++p) params[p] = tile_.params.data() + (group * params_ + p) * tile_rows;
    plan_.grid.encode_column(rows_, live_[i], params.data(), codes_.data() + i * tile_rows, rounded_[i]);
    const float* const u = plan_.factor.row(position) + position;
    column_error(live_[i], rounded_[i], u[0], error_[i], loss_);
    feed_error(error_[i], u + 1, width - i - 1, live_ + i + 1);
  }
  for (std::int64_t j = 0; j < width; ++j) {
    const std::int32_t column = plan_.order.column[first + j];
    for (std::int64_t r = 0; r < rows_; ++r) tile_.codes(r, column) = codes_[j * tile_rows + r];
  }
  for (std::int64_t r = 0; r < rows_; ++r)
    for (std::int64_t j = 0; j < width; ++j) tile_.weight(r, first + j) = rounded_[j][r];
  feed_later_blocks(first, last);
}

// Parameters of the group that starts at `position`, from live weights: columns of this block as the sweep has changed
// them, later ones (a group longer than a block starts with it) as finished blocks left them.
void TileSweep::fit_group(std::int64_t position, std::int64_t first, std::int64_t last) {
  const std::int32_t group = plan_.order.group[position];
  std::int64_t end = position + 1;
  while (end < tile_.weight.cols && plan_.order.group[end] == group) ++end;
  std::vector<float> values(end - position), params(params_);
  const std::span<const float> importance = plan_.importance.empty()
                                                ? std::span<const float>{}
                                                : std::span(plan_.importance).subspan(position, end - position);
  for (std::int64_t r = 0; r < rows_; ++r) {
    for (std::int64_t i = position; i < end; ++i)
      values[i - position] = i < last ? live_[i - first][r] : tile_.weight(r, i);
    plan_.range.fit(plan_.grid, values, importance, params);
    for (int p = 0; p < params_; ++p) tile_.params[(group * params_ + p) * tile_rows + r] = params[p];
  }
}

// W[:, last:] -= E U[first:last, last:].
void TileSweep::feed_later_blocks(std::int64_t first, std::int64_t last) {
  const std::int64_t width = last - first, rest = tile_.weight.cols - last;
  if (rest == 0) return;
  const Matrix<const float> error(error_[0], width, rows_, tile_rows);
  const Matrix<const float> u = plan_.factor.rows_slice(first, width).cols_slice(last, rest);
  kernels::sgemm_at(error, u, tile_.weight.cols_slice(last, rest), -1, true);
}

}  // namespace

void sweep(const SweepPlan& plan, const SweepTile& tile) { TileSweep(plan, tile).run(); }

}  // namespace vernier::gptq
