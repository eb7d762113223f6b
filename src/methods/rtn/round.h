// Round to nearest: the Range gives each group its parameters, the Grid its codes. Also the start and the yardstick of
// other solvers.
#pragma once

#include "methods/method.h"

namespace vernier {

// A part of the right size, codes and parameters still to be filled; per-tensor parameters are already fitted.
GridPart start_part(const SolveInput& input);

// Codes of row `row` of the weight under the parameters that `part` holds; decoded values go to `decoded` [cols].
void encode_row(Matrix<const float> weight, std::int64_t row, GridPart& part, std::span<float> decoded);

// Fits (unless per tensor) and encodes row `row` of the weight into `part`; decoded values go to `decoded` [cols].
void round_row(const SolveInput& input, std::int64_t row, GridPart& part, std::span<float> decoded);

}  // namespace vernier
