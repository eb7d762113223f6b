// Whether numbers are numbers.
#pragma once

#include <cstdint>
#include <span>

#include "vernier/tensor.h"

namespace vernier {

// Index of the first value that is NaN or infinite; -1 when all are finite.
std::int64_t first_not_finite(std::span<const float> values);

// The same of elements [first, first + count) of a float tensor (f32, f16, bf16, f64) of any alignment, as stored.
std::int64_t first_not_finite(const TensorView& view, std::int64_t first, std::int64_t count);

}  // namespace vernier
