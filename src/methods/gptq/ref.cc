#include "methods/gptq/ref.h"

#include <algorithm>
#include <cmath>

namespace vernier::gptq {

std::vector<double> reference_factor(Matrix<const float> hessian, const ColumnOrder& order, double lambda) {
  const std::int64_t n = hessian.rows;
  // H^-1 by Gauss-Jordan elimination of [H | I].
  std::vector<double> h(n * n), inverse(n * n, 0.0), u(n * n, 0.0);
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j < n; ++j) h[i * n + j] = hessian(order.column[i], order.column[j]) + (i == j) * lambda;
    inverse[i * n + i] = 1;
  }
  for (std::int64_t k = 0; k < n; ++k) {
    const double pivot = h[k * n + k];
    for (std::int64_t j = 0; j < n; ++j) h[k * n + j] /= pivot, inverse[k * n + j] /= pivot;
    for (std::int64_t i = 0; i < n; ++i) {
      const double factor = i == k ? 0 : h[i * n + k];
      for (std::int64_t j = 0; j < n; ++j) {
        h[i * n + j] -= factor * h[k * n + j];
        inverse[i * n + j] -= factor * inverse[k * n + j];
      }
    }
  }
  // H^-1 = U^T U, row by row.
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t j = i; j < n; ++j) {
      double sum = inverse[i * n + j];
      for (std::int64_t k = 0; k < i; ++k) sum -= u[k * n + i] * u[k * n + j];
      u[i * n + j] = i == j ? std::sqrt(sum) : sum / u[i * n + i];
    }
  return u;
}

GridPart reference_gptq(Matrix<const float> weight, Matrix<const float> hessian, std::shared_ptr<const Grid> grid,
                        const Range& range, const ColumnOrder& order, double lambda) {
  const std::int64_t rows = weight.rows, cols = weight.cols, groups = grid->groups(cols);
  const auto count = static_cast<std::size_t>(grid->params_per_group());
  const std::vector<double> u = reference_factor(hessian, order, lambda);
  GridPart part{.grid = grid, .rows = rows, .cols = cols, .group_of_column = order.group_of_column};
  part.codes.resize(rows * cols);
  part.params.resize((grid->per_tensor() ? 1 : rows * groups) * count);
  const auto params_of = [&](std::int64_t r, std::int64_t g) {
    return std::span(part.params).subspan(grid->per_tensor() ? 0 : (r * groups + g) * count, count);
  };

  // Parameters of group g of row r from the values w of the positions that belong to it.
  const auto fit = [&](std::int64_t r, std::int32_t g, const std::vector<double>& w) {
    std::vector<float> values;
    for (std::int64_t i = 0; i < cols; ++i)
      if (order.group[i] == g) values.push_back(static_cast<float>(w[i]));
    range.fit(*grid, values, {}, params_of(r, g));
  };
  if (grid->per_tensor()) {
    std::vector<float> values;
    for (std::int64_t r = 0; r < rows; ++r) values.insert(values.end(), weight.row(r), weight.row(r) + cols);
    range.fit(*grid, values, {}, part.params);
  }

  for (std::int64_t r = 0; r < rows; ++r) {
    std::vector<double> w(cols);
    for (std::int64_t i = 0; i < cols; ++i) w[i] = weight(r, order.column[i]);
    if (order.fitted_first && !grid->per_tensor()) {
      for (std::int64_t g = 0; g < groups; ++g) fit(r, static_cast<std::int32_t>(g), w);
      grid->settle_row(std::span(part.params).subspan(r * groups * count, groups * count));
    }
    for (std::int64_t i = 0; i < cols; ++i) {
      const std::int32_t g = order.group[i];
      const bool starts = i == 0 || order.group[i - 1] != g;
      if (starts && !order.fitted_first && !grid->per_tensor()) fit(r, g, w);
      const float value = static_cast<float>(w[i]);
      float rounded;
      grid->encode({&value, 1}, params_of(r, g), {&part.codes[r * cols + order.column[i]], 1}, {&rounded, 1});
      const double error = (w[i] - rounded) / u[i * cols + i];
      for (std::int64_t j = i; j < cols; ++j) w[j] -= error * u[i * cols + j];
    }
  }
  return part;
}

}  // namespace vernier::gptq
