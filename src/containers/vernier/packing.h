// Which weights the `vernier` container stores as panels, the layout kernels use in place (kernels/panel/panel.h).
// Others keep the logical layout of their format.
#pragma once

#include <optional>

#include "containers/container.h"
#include "kernels/panel/panel.h"

namespace vernier::container_vernier {

// The panels of a weight; none where no kernel takes its grid.
std::optional<kernels::PanelSpec> panel_spec(const WeightPlan& weight);

// One U8 tensor of panel_bytes(spec).
Result<Tensor> pack(const kernels::PanelSpec& spec, const GridPart& part);

// The part that was packed.
Result<GridPart> unpack(const kernels::PanelMatrix& panels, const GridSpec& grid);

}  // namespace vernier::container_vernier
