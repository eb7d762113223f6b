#include "containers/vernier/packing.h"

#include <vector>

#include "formats/dual/grid.h"
#include "formats/int/grid.h"

namespace vernier::container_vernier {

using kernels::PanelKind;
using kernels::PanelSpec;

std::optional<PanelSpec> panel_spec(const WeightPlan& weight) {
  if (!weight.grid || weight.column_groups || weight.shape.rank() != 2) return std::nullopt;
  const GridSpec& grid = *weight.grid;
  PanelSpec spec{PanelKind::plain, grid.bits, weight.shape[0], weight.shape[1]};
  if (grid.group > 0) spec.group = grid.group;
  const auto format = find_format(grid.format);
  if (!format.ok() || (*format)->arithmetic == CodeArithmetic::other) return std::nullopt;
  if ((*format)->arithmetic == CodeArithmetic::dual)
    spec.kind = PanelKind::dual;
  else if (grid.group > 0)
    spec.kind = PanelKind::group;
  return check(spec).ok() ? std::optional(spec) : std::nullopt;
}

Result<Tensor> pack(const PanelSpec& spec, const GridPart& part) {
  const bool dual = spec.kind == PanelKind::dual, per_tensor = part.grid->per_tensor();
  const int width = part.grid->params_per_group();
  const std::int64_t count = spec.rows * spec.groups();
  std::vector<float> scales(dual ? spec.rows : count);
  std::vector<std::uint8_t> fine(dual ? count : 0), zeros(count);
  for (std::int64_t i = 0; i < count; ++i) {
    const float* const params = part.params.data() + (per_tensor ? 0 : i * width);
    zeros[i] = static_cast<std::uint8_t>(params[dual ? int{dual_zero} : int{int_zero}]);
    if (dual) {
      fine[i] = static_cast<std::uint8_t>(params[dual_fine]);
      scales[i / spec.groups()] = params[dual_coarse];
    } else {
      scales[i] = params[int_scale];
    }
  }
  Tensor packed(DType::u8, Shape{panel_bytes(spec)});
  VN_TRY(pack_panels(spec, {part.codes, scales, fine, zeros}, packed.bytes()));
  return packed;
}

Result<GridPart> unpack(const kernels::PanelMatrix& panels, const GridSpec& grid) {
  const PanelSpec& spec = panels.spec();
  kernels::PanelContents contents = unpack_panels(panels);
  GridPart part{.rows = spec.rows, .cols = spec.cols, .codes = std::move(contents.codes)};
  VN_ASSIGN(part.grid, make_grid(grid));
  const bool dual = spec.kind == PanelKind::dual;
  const int width = part.grid->params_per_group();
  const std::int64_t count = part.grid->per_tensor() ? 1 : spec.rows * spec.groups();
  part.params.resize(static_cast<std::size_t>(count * width));
  for (std::int64_t i = 0; i < count; ++i) {
    float* const params = part.params.data() + i * width;
    params[dual ? int{dual_zero} : int{int_zero}] = contents.zeros[i];
    if (dual) {
      params[dual_fine] = contents.fine[i];
      params[dual_coarse] = contents.scales[i / spec.groups()];
    } else {
      params[int_scale] = contents.scales[i];
    }
  }
  return part;
}

}  // namespace vernier::container_vernier
