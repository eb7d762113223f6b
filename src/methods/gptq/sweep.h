// The column sweep: round a column, feed its error into the columns still to come. Source: GPTQ (2022), algorithm 1;
// handbook, rounding, 3, step 5.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "formats/range.h"
#include "methods/gptq/order.h"
#include "vernier/format.h"

namespace vernier::gptq {

constexpr std::int64_t tile_rows = 128;  // rows that one worker sweeps at a time

// What all tiles of a matrix share.
struct SweepPlan {
  const Grid& grid;
  const Range& range;
  const ColumnOrder& order;
  Matrix<const float> factor;      // U, in the order of rounding
  std::vector<std::int64_t> cuts;  // cut_blocks(order, block size)
  std::vector<float> importance;   // [cols] in the order of rounding, or empty: of groups fitted during the sweep
};

// At most tile_rows rows on their way through the sweep; all matrices and arrays are owned by the caller.
struct SweepTile {
  Matrix<float> weight;        // [rows, cols] columns in the order of rounding; ends as the decoded values
  Matrix<std::uint8_t> codes;  // [rows, cols] columns as they lie in the model; written
  // [groups, params, tile_rows]: parameter p of group g and row r at (g * params_per_group + p) * tile_rows + r.
  // Written unless order.fitted_first or the grid is per tensor, when it is read.
  std::span<float> params;
  std::span<double> loss;  // [rows] written: sum of squared errors over U_ii = (w - q) H_d (w - q)^T
};

void sweep(const SweepPlan& plan, const SweepTile& tile);

}  // namespace vernier::gptq
