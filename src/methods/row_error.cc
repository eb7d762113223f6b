#include "methods/row_error.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "base/fail.h"
#include "base/threads.h"
#include "kernels/ops.h"
#include "tensor/finite.h"

namespace vernier {
namespace {

constexpr std::int64_t panel_columns = 512;

}  // namespace

Status check_solve_input(const SolveInput& input) {
  const Matrix<const float> w = input.weight;
  std::atomic<std::int64_t> bad_row = w.rows;
  parallel_ranges(w.rows, 64, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t r = first; r < last; ++r) {
      if (first_not_finite({w.row(r), static_cast<std::size_t>(w.cols)}) < 0) continue;
      std::int64_t lowest = bad_row;
      while (r < lowest && !bad_row.compare_exchange_weak(lowest, r)) {
      }
      return;
    }
  });
  if (bad_row < w.rows) {
    const std::int64_t c = first_not_finite({w.row(bad_row), static_cast<std::size_t>(w.cols)});
    return with_hint(fail(ErrorCode::invalid, "{}: finite weights wanted, row {}, column {} is {}", input.name,
                          bad_row.load(), c, w(bad_row, c)),
                     "the checkpoint is damaged or was saved after training diverged");
  }
  if (!input.hessian) return {};
  if (input.hessian->columns() != w.cols)
    return fail(ErrorCode::mismatch, "{}: a Hessian of {} columns wanted, {} found", input.name, w.cols,
                input.hessian->columns());
  for (std::int64_t c = 0; c < w.cols; ++c)
    if (const float h = input.hessian->matrix()(c, c); !std::isfinite(h) || h < 0)
      return with_hint(fail(ErrorCode::failed, "{}: input column {} has the second moment {}", input.name, c, h),
                       "activations overflowed during calibration");
  return {};
}

void quadratic_forms(Matrix<const float> v, Matrix<const float> h, std::span<double> out) {
  std::fill(out.begin(), out.end(), 0.0);
  std::vector<float> buffer(v.rows * panel_columns);
  const auto add = [&](Matrix<const float> product, Matrix<const float> columns, double factor) {
    for (std::int64_t r = 0; r < v.rows; ++r) {
      double sum = 0;
      for (std::int64_t c = 0; c < columns.cols; ++c) sum += double{product(r, c)} * columns(r, c);
      out[r] += factor * sum;
    }
  };
  for (std::int64_t first = 0; first < v.cols; first += panel_columns) {
    const std::int64_t width = std::min(panel_columns, v.cols - first);
    const Matrix<float> product(buffer.data(), v.rows, width);
    const Matrix<const float> columns = v.cols_slice(first, width), panel = h.cols_slice(first, width);
    if (first > 0) {  // the rectangle above the diagonal stands for its mirror image too
      kernels::sgemm(v.cols_slice(0, first), panel.rows_slice(0, first), false, product);
      add(product, columns, 2);
    }
    kernels::sgemm(columns, panel.rows_slice(first, width), false, product);
    add(product, columns, 1);
  }
}

}  // namespace vernier
