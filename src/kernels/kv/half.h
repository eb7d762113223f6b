// Rows of numbers between float and half precision; the same bits on every CPU.
#pragma once

#include <cstdint>

namespace vernier::kernels {

using Widen = void (*)(const std::uint16_t* half, std::int64_t n, float* out);
using Narrow = void (*)(const float* in, std::int64_t n, std::uint16_t* half);  // to nearest, ties to even

void widen_avx2(const std::uint16_t* half, std::int64_t n, float* out);
void narrow_avx2(const float* in, std::int64_t n, std::uint16_t* half);

Widen widen_kernel();
Narrow narrow_kernel();

}  // namespace vernier::kernels
