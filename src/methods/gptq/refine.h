// Coordinate descent from a finished rounding: parameters of groups and codes of columns, one at a time, each moved
// where that lowers the row's error (w - q) H (w - q)^T. Codes as in QuantEase (2023), equation 6.
#pragma once

#include <cstdint>

#include "vernier/format.h"

namespace vernier::gptq {

// Rows first .. first + count of `part` [rows, cols], groups contiguous, parameters per group; `weight` is the whole
// matrix, `hessian` [cols, cols] is not damped. Every pass refits the parameters that groups share (SharedParams), then
// tries those near each group's (Grid::nearby), then each column's code. A row's error never grows, but for rounding in
// float. Columns with a zero diagonal stay.
void refine_rows(Matrix<const float> weight, Matrix<const float> hessian, std::int64_t first, std::int64_t count,
                 std::int64_t passes, GridPart& part);

// Floats that refine_rows() holds per column and row.
constexpr std::int64_t refine_floats = 3;

}  // namespace vernier::gptq
