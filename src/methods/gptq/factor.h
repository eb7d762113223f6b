// The inverse factor GPTQ sweeps with: U upper triangular, H_d^-1 = U^T U, for the damped Hessian H_d = H + lambda I
// with rows and columns in the order of rounding. Source: handbook, rounding, 3, step 4: with H_d = R R^T and R upper,
// U = R^-1; one Cholesky from the last column backwards and one triangular inverse, in place.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "vernier/tensor.h"

namespace vernier::gptq {

// Replaces the upper triangle of `a` (symmetric; only that triangle is read) by U. Tiles have fixed sizes, so the bytes
// do not depend on threads. False when a pivot falls below `least_pivot` or is not finite: `a` is then garbage.
// Diagonal blocks are factored in double, the rest in float.
bool invert_factor(Matrix<float> a, double least_pivot);

struct Factor {
  std::int64_t n = 0;
  std::unique_ptr<float[]> u;  // [n, n], upper triangle valid; null: every repair failed
  double lambda = 0;           // what was added to the diagonal
  double damp = 0;             // the same as a fraction of the mean diagonal
  std::string note;            // what it took, when more than the damping asked for

  Matrix<const float> matrix() const { return {u.get(), n, n}; }
  static std::int64_t bytes(std::int64_t n);  // held while one is made
};

// `column` is the order of rounding. Dead columns (zero diagonal) count as independent ones of mean size. When the
// factor fails, damp grows by damp_step, then by twice as much each time, below 1; then a diagonal floor of max H_ii *
// 1e-6 * 10^k, k = 0 .. 5, is added to the last damping.
Factor make_factor(Matrix<const float> hessian, std::span<const std::int32_t> column, double damp, double damp_step);

}  // namespace vernier::gptq
