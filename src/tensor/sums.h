// Sums over floats in double precision. Their order depends on the count alone, not on the CPU or on threads.
#pragma once

#include <span>

namespace vernier {

double sum_of_squares(std::span<const float> values);

// Sum of (a[i] - b[i])^2, differences taken in float; of equally many values.
double sum_of_squared_differences(std::span<const float> a, std::span<const float> b);

}  // namespace vernier
