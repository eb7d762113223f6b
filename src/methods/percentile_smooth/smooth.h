// DGQ's smoothing of activations (Dual Grained Quantization, 2023; handbook, transforms, 4, "Activation"): channels
// that peak above all but the largest few are scaled down to that threshold, the others are left alone.
#pragma once

#include <span>
#include <vector>

namespace vernier::percentile_smooth {

// The value at rank floor(fraction * n + 1.5), counted from the largest = 1.
float threshold(std::span<const float> amax, double fraction);

// s_j = max(1, amax_j / t), t the threshold. All ones where t < 1e-4, or there is nothing above it.
std::vector<float> smooth_factor(std::span<const float> amax, double fraction);

}  // namespace vernier::percentile_smooth
