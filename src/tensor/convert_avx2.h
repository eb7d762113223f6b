// Rows of stored half-precision numbers to floats, for CPUs with AVX2 and F16C; `in` at any alignment.
#pragma once

#include <cstddef>
#include <cstdint>

namespace vernier {

void f16_to_float_avx2(const std::byte* in, std::int64_t n, float* out);
void bf16_to_float_avx2(const std::byte* in, std::int64_t n, float* out);

}  // namespace vernier
