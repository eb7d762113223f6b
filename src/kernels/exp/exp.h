// Loops around the exponential. One body, compiled for each instruction set without contraction: every CPU gives the
// same bits. exp is within 2 units in the last place; overflow gives infinity, underflow reaches 0 through denormals,
// NaN stays NaN.
#pragma once

#include <cstdint>

namespace vernier::kernels {

// x[i] = exp(x[i] - shift); returns their sum. A shift that is the maximum keeps every term in [0, 1].
using ExpSum = float (*)(float* x, std::int64_t n, float shift);
ExpSum exp_sum_kernel();

// The largest of n >= 1 values; NaNs are passed over unless x[0] is one.
using Maximum = float (*)(const float* x, std::int64_t n);
Maximum maximum_kernel();

// x[i] = x[i] / (1 + exp(-x[i])).
using Silu = void (*)(float* x, std::int64_t n);
Silu silu_kernel();

}  // namespace vernier::kernels
