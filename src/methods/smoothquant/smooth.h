// SmoothQuant's factor: part of the spread of a linear's inputs is moved into its weights (SmoothQuant, 2022, eq. 4;
// handbook, transforms, 3).
#pragma once

#include <span>
#include <vector>

#include "arch/edges.h"
#include "methods/method.h"

namespace vernier::smoothquant {

// s_j = max(amax_j^alpha / wmax_j^(1 - alpha), 1e-5), wmax_j at least 1e-5. alpha 1: every channel of x / s peaks at 1;
// alpha 0: every column of W diag(s) does. Channels that are never active (amax 0) keep 1.
std::vector<float> smooth_factor(std::span<const float> amax, std::span<const float> wmax, double alpha);

// Largest |w| of the columns that read each channel, over all consumers of `edge`.
Result<std::vector<float>> weight_maxima(BlockContext& block, const ScaleEdge& edge);

}  // namespace vernier::smoothquant
