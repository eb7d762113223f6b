// sum of a[i] * b[i] over n floats at any alignment. Each instruction set sums in its own fixed order; all stay within
// n * epsilon * sum |a b| of the exact value.
#pragma once

#include <cstdint>

namespace vernier::kernels {

using Dot = float (*)(const float* a, const float* b, std::int64_t n);

float dot_scalar(const float* a, const float* b, std::int64_t n);
float dot_neon(const float* a, const float* b, std::int64_t n);
float dot_avx2(const float* a, const float* b, std::int64_t n);
float dot_avx512(const float* a, const float* b, std::int64_t n);

Dot dot_kernel();  // for this CPU

}  // namespace vernier::kernels
