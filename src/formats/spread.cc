#include "formats/spread.h"

#include <cmath>

#include "formats/gguf/twins.h"
#include "formats/int/grid.h"
#include "tensor/convert.h"

namespace vernier {
namespace {

// The integers that a grid is; nothing for others.
std::optional<GridSpec> as_integers(const GridSpec& spec) {
  if (spec.format == "int") return spec;
  const auto twin = twin_of(spec);
  return twin && twin->format == "int" ? twin : std::nullopt;
}

std::int64_t group_columns(const GridSpec& spec, std::int64_t cols) { return spec.group > 0 ? spec.group : cols; }

}  // namespace

bool may_spread(const GridSpec& from, const GridSpec& to, std::int64_t cols) {
  const auto a = as_integers(from), b = as_integers(to);
  if (!a || !b || a->bits != b->bits || (b->symmetric && !a->symmetric)) return false;
  if (b->group == -1) return a->group == -1;
  const std::int64_t wide = group_columns(*a, cols), narrow = group_columns(*b, cols);
  return wide % narrow == 0;
}

std::optional<GridPart> spread(GridPart part, const GridSpec& to) {
  if (!part.group_of_column.empty()) return std::nullopt;
  if (part.grid->spec().format != "int") part = as_twin(std::move(part));
  const GridSpec target = *as_integers(to);
  auto grid = make_grid(target);
  if (!grid.ok()) return std::nullopt;
  const std::int64_t narrow = (*grid)->group_columns(part.cols), wide = part.grid->group_columns(part.cols);
  const std::int64_t groups = (*grid)->groups(part.cols), rows = target.group == -1 ? 1 : part.rows;
  std::vector<float> params(static_cast<std::size_t>(rows * groups * int_params));
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t g = 0; g < groups; ++g) {
      const std::span<const float> from = part.params_of(r, g * narrow / wide);
      if (round_to(target.scale_dtype, from[int_scale]) != from[int_scale] || !std::isfinite(from[int_scale]))
        return std::nullopt;
      float* const out = &params[static_cast<std::size_t>((r * groups + g) * int_params)];
      out[int_scale] = from[int_scale];
      out[int_zero] = from[int_zero];
    }
  part.grid = std::move(grid).value();
  part.params = std::move(params);
  return target == to ? std::move(part) : as_twin(std::move(part));
}

}  // namespace vernier
