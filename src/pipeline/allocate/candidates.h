// The grids a tensor may take when a recipe names a target size instead of a width.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "arch/graph.h"
#include "io/checkpoint.h"
#include "vernier/format.h"
#include "vernier/recipe.h"

namespace vernier {

struct CandidateGrid {
  WeightSpec weights;
  GridSpec grid;
  std::int64_t bits = 0;  // of the whole tensor, parameters included

  std::string label() const;  // "q4_k", "int3"
};

// A tensor that the recipe quantizes, with its candidates by rising size. One that an override of the recipe names has
// that override's grid alone.
struct AllocatedTensor {
  std::string name;
  Shape shape;
  std::vector<CandidateGrid> candidates;
};

// Block types of GGUF where `container` or the recipe's format is of them (those of 256 columns, or of 32 where rows
// are not whole blocks of 256), else integers of 2 to 8 bits with the recipe's group. Names and shapes only.
Result<std::vector<AllocatedTensor>> allocated_tensors(const Checkpoint& checkpoint, const ModelGraph& graph,
                                                       const Recipe& recipe, const std::string& container);

}  // namespace vernier
