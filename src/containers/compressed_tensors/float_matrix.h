// Weights of small floats in compressed-tensors and in FP8 checkpoints, on the mapped tensors.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "containers/compressed_tensors/scheme.h"
#include "formats/minifloat/grid.h"
#include "io/checkpoint.h"

namespace vernier::compressed_tensors {

// The stored tensors of one module's weight, sizes checked against each other.
struct FloatTensors {
  GridSpec spec;
  std::int64_t rows = 0, cols = 0;
  std::string codes_name, scale_name;
  float divisor = 1;
  std::vector<std::string> names;  // all of them
};

// The weight [rows, cols] of codes that start with tensor `codes` and scales in `scale`, both suffixes of the module's
// name; the grid is the group's with the scales' own type. Errors name the tensor, the wanted and the found element
// type or shape.
Result<FloatTensors> find_float_tensors(const Checkpoint& checkpoint, const GridSpec& grid, const std::string& module,
                                        std::string_view scale = ".weight_scale");

Result<std::shared_ptr<const WeightMatrix>> open_float_matrix(const Checkpoint& checkpoint,
                                                              const FloatTensors& tensors);
Result<GridPart> read_float_part(const Checkpoint& checkpoint, const FloatTensors& tensors);

}  // namespace vernier::compressed_tensors
