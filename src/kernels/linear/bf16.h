// Products of bf16 numbers with float sums.
#pragma once

#include <cstdint>

#include "vernier/tensor.h"

namespace vernier::kernels {

// Whether this CPU multiplies bf16: AVX512_BF16, with AMX used where it is there.
bool multiplies_bf16();

// To nearest, ties to even; denormals become 0. Needs multiplies_bf16().
void round_to_bf16(const float* in, std::int64_t n, std::uint16_t* out);

// y = x w^T, x [m, k], w [n, k]. Single-threaded. False, y undefined, when oneDNN has no primitive for the shape.
bool product_bf16(Matrix<const std::uint16_t> x, Matrix<const std::uint16_t> w, Matrix<float> y);

}  // namespace vernier::kernels
