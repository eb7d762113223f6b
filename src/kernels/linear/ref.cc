#include <vector>

#include "kernels/reference.h"

namespace vernier::kernels::reference {

void linear(Matrix<const float> x, const WeightMatrix& weight, std::span<const float> bias, Matrix<float> y) {
  std::vector<float> row(weight.cols());
  for (std::int64_t r = 0; r < weight.rows(); ++r) {
    weight.decode_rows(r, 1, row.data());
    for (std::int64_t t = 0; t < x.rows; ++t) {
      double sum = bias.empty() ? 0.0 : bias[r];
      for (std::int64_t c = 0; c < x.cols; ++c) sum += static_cast<double>(x(t, c)) * row[c];
      y(t, r) = static_cast<float>(sum);
    }
  }
}

}  // namespace vernier::kernels::reference
