#include <cmath>
#include <numbers>

#include "base/threads.h"
#include "kernels/exp/exp.h"
#include "kernels/ops.h"

namespace vernier::kernels {
namespace {

constexpr std::int64_t kGrainValues = 1 << 15;  // of one worker's piece

// body(row) for every row, in pieces of about kGrainValues values.
template <class Body>
void for_rows(std::int64_t rows, std::int64_t cols, Body body) {
  const std::int64_t grain = std::max<std::int64_t>(kGrainValues / std::max<std::int64_t>(cols, 1), 1);
  parallel_ranges(rows, grain, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t row = first; row < last; ++row) body(row);
  });
}

}  // namespace

void silu(Matrix<float> x) {
  const Silu kernel = silu_kernel();
  for_rows(x.rows, x.cols, [&](std::int64_t row) { kernel(x.row(row), x.cols); });
}

void relu(Matrix<float> x) {
  for_rows(x.rows, x.cols, [&](std::int64_t row) {
    float* v = x.row(row);
    for (std::int64_t c = 0; c < x.cols; ++c) v[c] = v[c] < 0 ? 0.0f : v[c];
  });
}

void gelu(Matrix<float> x) {
  constexpr float kRootHalf = static_cast<float>(1 / std::numbers::sqrt2);
  for_rows(x.rows, x.cols, [&](std::int64_t row) {
    float* v = x.row(row);
    for (std::int64_t c = 0; c < x.cols; ++c) v[c] = 0.5f * v[c] * (1.0f + std::erf(v[c] * kRootHalf));
  });
}

void add(Matrix<float> x, Matrix<const float> y) {
  for_rows(x.rows, x.cols, [&](std::int64_t row) {
    float* v = x.row(row);
    const float* w = y.row(row);
    for (std::int64_t c = 0; c < x.cols; ++c) v[c] += w[c];
  });
}

void multiply(Matrix<float> x, Matrix<const float> y) {
  for_rows(x.rows, x.cols, [&](std::int64_t row) {
    float* v = x.row(row);
    const float* w = y.row(row);
    for (std::int64_t c = 0; c < x.cols; ++c) v[c] *= w[c];
  });
}

}  // namespace vernier::kernels
