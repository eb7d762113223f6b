// Whether the numbers in packed panels are ones their grid has. Padding is not looked at: no kernel's result depends on
// it.
#pragma once

#include <optional>

#include "formats/soundness.h"
#include "kernels/panel/panel.h"

namespace vernier::kernels {

// The first of rows [first, first + count) that is not sound; PanelMatrix::open() found scales finite and fine scales
// in range. Codes are read where `allowed` leaves some out.
std::optional<Unsound> unsound_panels(const PanelMatrix& matrix, std::int64_t first, std::int64_t count,
                                      const AllowedCodes& allowed);

}  // namespace vernier::kernels
