// DGQ's search as the formulas read: one row, one group, one candidate at a time, errors in double. For tests.
#pragma once

#include <vector>

#include "methods/dgq/search.h"

namespace vernier::dgq {

// sum over groups of e H_gg e^T for row `row` of `weight`, rounded to nearest under `params` [groups,
// params_per_group].
double reference_error(Matrix<const float> weight, std::int64_t row, Matrix<const float> hessian, const Grid& grid,
                       std::span<const float> params);

// Phase 1: the params of every group of the row, each by its own error.
std::vector<float> reference_ranges(Matrix<const float> weight, std::int64_t row, Matrix<const float> hessian,
                                    const Grid& grid, const SearchSettings& settings);

// Phase 2: the same groups under the best coarse scale.
std::vector<float> reference_coarse(Matrix<const float> weight, std::int64_t row, Matrix<const float> hessian,
                                    const Grid& grid, const std::vector<float>& ranges, const SearchSettings& settings);

}  // namespace vernier::dgq
