// The block types whose values are those of symmetric integers in groups of 32 under a half scale: Q4_0, Q5_0 and Q8_0.
// Codes and scales are the same numbers, so either form is made of the other without a rounding.
#pragma once

#include <optional>

#include "vernier/format.h"

namespace vernier {

// "q4_0" for int4 sym g32 f16 and the other way; nothing for a grid that has no twin.
std::optional<GridSpec> twin_of(const GridSpec& grid);

// `part` on the twin of its grid.
GridPart as_twin(GridPart part);

}  // namespace vernier
