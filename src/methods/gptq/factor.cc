#include "methods/gptq/factor.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/threads.h"
#include "base/vectorize.h"
#include "kernels/ops.h"

namespace vernier::gptq {
namespace {

constexpr std::int64_t block = 256;           // columns eliminated at a time; rows and columns of a tile
constexpr std::int64_t strip_columns = 1024;  // width of one product of a trailing update

VN_VECTORIZED void subtract_multiple(double* __restrict y, const double* __restrict x, double factor,
                                     std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) y[i] -= factor * x[i];
}

// A diagonal block in double: A = R R^T with R upper, then R^-1 into the tile, zeros below its diagonal. Both are kept
// transposed (row j holds column j), so that inner loops run along rows.
bool invert_diagonal_block(Matrix<float> tile, double least_pivot) {
  const std::int64_t n = tile.rows;
  std::vector<double> r(n * n), inverse(n * n), sum(n);
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t j = i; j < n; ++j) r[j * n + i] = tile(i, j);
  for (std::int64_t j = n - 1; j >= 0; --j) {
    double* const column = &r[j * n];
    if (!(column[j] > least_pivot) || !std::isfinite(column[j])) return false;
    const double root = std::sqrt(column[j]);
    for (std::int64_t i = 0; i < j; ++i) column[i] /= root;
    column[j] = root;
    for (std::int64_t b = 0; b < j; ++b) subtract_multiple(&r[b * n], column, column[b], b + 1);
  }
  for (std::int64_t j = 0; j < n; ++j) {  // column j of the inverse, by back substitution
    std::fill(sum.begin(), sum.end(), 0.0);
    sum[j] = 1;
    for (std::int64_t m = j; m >= 0; --m) {
      inverse[j * n + m] = sum[m] / r[m * n + m];
      subtract_multiple(sum.data(), &r[m * n], inverse[j * n + m], m);
    }
  }
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t j = 0; j < n; ++j) tile(i, j) = j < i ? 0.0f : static_cast<float>(inverse[j * n + i]);
  return true;
}

void copy(Matrix<const float> from, Matrix<float> to) {
  for (std::int64_t r = 0; r < from.rows; ++r) std::copy_n(from.row(r), from.cols, to.row(r));
}

Matrix<float> part(Matrix<float> a, std::int64_t row, std::int64_t rows, std::int64_t column, std::int64_t columns) {
  return a.rows_slice(row, rows).cols_slice(column, columns);
}

// A <- A - R_k R_k^T above and on the diagonal, for the panel R_k = a[0:k, k:k+width).
void update_trailing(Matrix<float> a, std::int64_t k, std::int64_t width) {
  struct Tile {
    std::int64_t row, column, columns;
  };
  std::vector<Tile> tiles;
  for (std::int64_t row = 0; row < k; row += block)
    for (std::int64_t column = row; column < k; column += strip_columns)
      tiles.push_back({row, column, std::min(strip_columns, k - column)});
  parallel_for(static_cast<std::int64_t>(tiles.size()), [&](std::int64_t t) {
    const auto [row, column, columns] = tiles[t];
    kernels::sgemm(part(a, row, block, k, width), part(a, column, columns, k, width), true,
                   part(a, row, block, column, columns), -1, true);
  });
}

// R in the upper triangle, except that diagonal blocks already hold their inverse.
bool factor_backwards(Matrix<float> a, Matrix<float> panel, double least_pivot) {
  for (std::int64_t k = (a.rows - 1) / block * block; k >= 0; k -= block) {
    const std::int64_t width = std::min(block, a.rows - k);
    const Matrix<float> diagonal = part(a, k, width, k, width);
    if (!invert_diagonal_block(diagonal, least_pivot)) return false;
    parallel_for(k / block, [&](std::int64_t i) {  // R_ik = A_ik R_kk^-T
      const Matrix<float> tile = part(a, i * block, block, k, width), out = part(panel, i * block, block, 0, width);
      kernels::sgemm(tile, diagonal, true, out);
      copy(out, tile);
    });
    update_trailing(a, k, width);
  }
  return true;
}

// U_ik = -(sum over i <= m < k of U_im R_mk) U_kk, one block column after another.
void invert_forwards(Matrix<float> a, Matrix<float> panel) {
  for (std::int64_t k = block; k < a.rows; k += block) {
    const std::int64_t width = std::min(block, a.rows - k);
    parallel_for(k / block, [&](std::int64_t i) {
      copy(part(a, i * block, block, k, width), part(panel, i * block, block, 0, width));
    });
    parallel_for(k / block, [&](std::int64_t i) {
      const std::int64_t row = i * block;
      std::vector<float> sum(block * width);
      const Matrix<float> sums(sum.data(), block, width);
      kernels::sgemm(part(a, row, block, row, k - row), part(panel, row, k - row, 0, width), false, sums);
      kernels::sgemm(sums, part(a, k, width, k, width), false, part(a, row, block, k, width), -1);
    });
  }
}

// The damped Hessian in the order of rounding, upper triangle, into `a`.
void gather(Matrix<const float> hessian, std::span<const std::int32_t> column, double dead, double lambda,
            Matrix<float> a) {
  parallel_ranges(a.rows, 64, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) {
      const float* const from = hessian.row(column[i]);
      float* const to = a.row(i);
      for (std::int64_t j = i; j < a.cols; ++j) to[j] = from[column[j]];
      to[i] = static_cast<float>((to[i] > 0 ? double{to[i]} : dead) + lambda);
    }
  });
}

}  // namespace

bool invert_factor(Matrix<float> a, double least_pivot) {
  std::vector<float> storage(a.rows * std::min(block, a.rows));
  const Matrix<float> panel(storage.data(), a.rows, std::min(block, a.rows));
  if (!factor_backwards(a, panel, least_pivot)) return false;
  invert_forwards(a, panel);
  return true;
}

std::int64_t Factor::bytes(std::int64_t n) { return static_cast<std::int64_t>(sizeof(float)) * n * (n + block); }

Factor make_factor(Matrix<const float> hessian, std::span<const std::int32_t> column, double damp, double damp_step) {
  const std::int64_t n = hessian.rows;
  double sum = 0, largest = 0;
  std::int64_t live = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    sum += hessian(i, i);
    largest = std::max<double>(largest, hessian(i, i));
    live += hessian(i, i) > 0;
  }
  const double mean = live > 0 ? sum / static_cast<double>(live) : 1.0;
  Factor factor{.n = n, .u = std::make_unique_for_overwrite<float[]>(n * n)};
  const auto attempt = [&](double lambda) {
    factor.lambda = lambda;
    factor.damp = lambda / mean;
    const Matrix<float> a(factor.u.get(), n, n);
    gather(hessian, column, mean, lambda, a);
    // Every pivot of H + lambda I is at least lambda; one below half of it is rounding noise.
    return invert_factor(a, lambda / 2);
  };
  double fraction = damp;
  for (double step = damp_step; fraction < 1; fraction += step, step *= 2) {
    if (attempt(fraction * mean)) {
      if (fraction > damp) factor.note = fmt::format("damping raised from {:g} to {:g}", damp, fraction);
      return factor;
    }
    if (!(step > 0)) break;
  }
  fraction = std::min(fraction, 1.0);
  for (double floor = 1e-6; floor < 0.5; floor *= 10)
    if (attempt(fraction * mean + floor * largest)) {
      factor.note =
          fmt::format("damping raised from {:g} to {:g}, diagonal floor {:g} of its maximum", damp, fraction, floor);
      return factor;
    }
  factor.u.reset();
  factor.note = "the Hessian has no positive-definite repair: rounded to nearest";
  return factor;
}

}  // namespace vernier::gptq
