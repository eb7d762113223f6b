// Importance matrices and models: which entry of a file weighs which weight.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "arch/graph.h"
#include "containers/container.h"
#include "io/imatrix.h"

namespace vernier {

// What a file says of a model's weights.
struct Importance {
  std::map<std::string, std::vector<float>> of_weight;  // [cols] by the checkpoint's name
  std::string fingerprint;                              // of the file; empty: there is none
};

// Where a file has a weight: GGUF's name, or the checkpoint's where GGUF has none, and which matrix of a stack.
struct ImportancePlace {
  std::string entry;
  std::int64_t matrix = -1;  // -1: not stacked
};
ImportancePlace importance_place(const std::string& weight);

// Reads `path` for the weights that get a grid. Refused: a linear of the blocks that the file lacks (embedding and head
// may be missing and are rounded without), another width or number of experts, entries of no weight of the model.
// `graph` may be null.
Result<Importance> load_importance(const std::string& path, std::span<const WeightPlan> weights,
                                   const ModelGraph* graph);

}  // namespace vernier
