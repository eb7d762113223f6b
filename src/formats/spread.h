// Integer codes on a finer layout: the same numbers under scales that are said more often, or in another type that
// holds them. A zero point may be written out that was implied.
#pragma once

#include <optional>

#include "vernier/format.h"

namespace vernier {

// Whether every weight on `from` could be on `to` with the same codes, if its scales allow it. Grids with an integer
// twin (formats/gguf/twins.h) count as it.
bool may_spread(const GridSpec& from, const GridSpec& to, std::int64_t cols);

// `part` on `to`, where may_spread(); nothing where a scale is not a number of the other type, or columns are not
// grouped in order.
std::optional<GridPart> spread(GridPart part, const GridSpec& to);

}  // namespace vernier
