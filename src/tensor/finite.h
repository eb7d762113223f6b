// Whether numbers are numbers.
#pragma once

#include <cstdint>
#include <span>

namespace vernier {

// Index of the first value that is NaN or infinite; -1 when all are finite.
std::int64_t first_not_finite(std::span<const float> values);

}  // namespace vernier
