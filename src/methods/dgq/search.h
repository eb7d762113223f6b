// The two-phase scale search of DGQ (Dual Grained Quantization, 2023; handbook, transforms, 4). Phase 1 shrinks the
// range of each group of a row, phase 2 tries coarse scales for the groups of a row together. Errors are those of round
// to nearest, through the diagonal blocks of the calibration Hessian: e H_gg e^T for the error e of a group's weights.
#pragma once

#include <cstdint>
#include <vector>

#include "vernier/format.h"
#include "vernier/tensor.h"

namespace vernier::dgq {

struct SearchSettings {
  int range_steps = 20;  // ranges tried for a group, evenly from 1.009 down to `least_range` times its min and max
  double least_range = 0.8;
  int coarse_steps = 80;     // coarse scales tried for a row, evenly between these multiples of the least that holds
  double most_coarse = 1.6;  // the step of its largest group; below 1 that group is clipped
  double least_coarse = 0.8;
};
float range_ratio(const SearchSettings& settings, int step);
float coarse_ratio(const SearchSettings& settings, int step);

// A group wider than this is judged by diagonal blocks of this width, which bounds the cost of a search to
// (range_steps + coarse_steps) products of at most rows x cols x block_columns.
constexpr std::int64_t block_columns = 256;

// Parameters [rows, groups, params_per_group] of `weight` on `grid`, one range per tensor excluded. Columns with
// hessian(c, c) = 0 count as zeros. Phase 2 is left out where the groups of a row share nothing. The same at any thread
// count.
std::vector<float> search_params(Matrix<const float> weight, Matrix<const float> hessian, const Grid& grid,
                                 const SearchSettings& settings);

// Bytes search_params holds, its result included.
std::int64_t search_bytes(std::int64_t rows, std::int64_t cols, const SearchSettings& settings);

}  // namespace vernier::dgq
