// The Range seam: where a group's parameters come from. Works on any grid through params_from_range and encode.
// Source: handbook, rounding, section 2.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "vernier/format.h"

namespace vernier {

struct RangeSpec {
  std::string method = "minmax";  // minmax | percentile | mse | search (the grid's own; mse where it has none)
  double percentile = 99.9;       // of |w|; asymmetric grids use both tails
  int grid = 100;                 // mse: candidates p = 1 - i/grid ...
  double max_shrink = 0.2;        // ... for i < max_shrink * grid
  double norm = 2.4;              // mse: exponent of the error
};

class Range {
 public:
  virtual ~Range() = default;
  // Parameters for one group. `importance` weighs each value's error (empty: all 1).
  virtual void fit(const Grid& grid, std::span<const float> values, std::span<const float> importance,
                   std::span<float> params) const = 0;
  // Parameters of all groups of a row found together, settled; false where it knows only group by group.
  virtual bool fit_row(const Grid& /*grid*/, std::span<const float> /*row*/, std::span<const float> /*importance*/,
                       std::span<float> /*params*/) const {
    return false;
  }
};

Result<std::unique_ptr<Range>> make_range(const RangeSpec& spec);

// Parameters [groups, params_per_group] of a row's groups: each fitted, then all settled. Not for per-tensor grids.
// Grids with joint rows are not final then: fit_tensor() is for them. `importance` [cols] or empty.
void fit_row(const Grid& grid, const Range& range, std::span<const float> row, std::span<const float> importance,
             std::span<float> params);

// Whether parameters depend on more than one row, so that fit_tensor() finds them before any row is rounded.
inline bool fits_tensor(const Grid& grid) { return grid.per_tensor() || grid.joint_rows() != 1; }

// Parameters of a whole weight as GridPart::params holds them, of any grid. `importance` [cols] or empty; per-tensor
// grids do not use it.
void fit_tensor(const Grid& grid, const Range& range, Matrix<const float> weight, std::span<float> params,
                std::span<const float> importance = {});

}  // namespace vernier
