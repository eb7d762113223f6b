// What a solver's report is made of: checks on what it was given, and quadratic forms of rows under the Hessian.
#pragma once

#include <span>

#include "methods/method.h"

namespace vernier {

// Refuses NaN and infinity in the weight (naming row and column) or on the Hessian's diagonal, and a Hessian of another
// width.
Status check_solve_input(const SolveInput& input);

// out[r] = v_r H v_r^T for every row of v [rows, n], H symmetric [n, n]. Runs on the calling thread; products in float,
// sums in double.
void quadratic_forms(Matrix<const float> v, Matrix<const float> h, std::span<double> out);

// part / whole, 0 when the whole is 0.
inline double relative_error(double part, double whole) { return whole > 0 ? part / whole : 0; }

}  // namespace vernier
