// GPTQ as the formula reads: one row at a time, one column at a time, everything in double, no blocks. For tests.
#pragma once

#include <vector>

#include "formats/range.h"
#include "methods/gptq/order.h"
#include "vernier/format.h"

namespace vernier::gptq {

// U, upper triangular with (P H P^T + lambda I)^-1 = U^T U, in the order of rounding: [n, n].
std::vector<double> reference_factor(Matrix<const float> hessian, const ColumnOrder& order, double lambda);

// Codes and parameters of `weight`, dead columns zeroed beforehand by the caller.
GridPart reference_gptq(Matrix<const float> weight, Matrix<const float> hessian, std::shared_ptr<const Grid> grid,
                        const Range& range, const ColumnOrder& order, double lambda);

}  // namespace vernier::gptq
