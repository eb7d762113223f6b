// What quantizing one tensor alone costs, on each of its candidate grids: measured on calibration tokens.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "arch/source.h"
#include "pipeline/allocate/candidates.h"
#include "pipeline/calibration.h"
#include "runtime/executor.h"
#include "vernier/recipe.h"

namespace vernier {

// Of one tensor on one of its candidate grids, rounded to nearest under the recipe's range.
struct Sensitivity {
  double cost = 0;        // what the allocator adds up
  double error = 0;       // tr(E H E^T) / tr(W H W^T); for embeddings, which have no H, the plain squared error
  bool measured = false;  // a divergence; false: from the error
};

struct MeasureInput {
  const ModelSource& source;
  const CalibrationSet& calibration;
  Executor& executor;
  const Recipe& recipe;
  std::string scratch;  // folder for spill files
  // Costs are the KL of the whole model's predictions on `divergence_tokens` tokens, measured on two candidates of each
  // tensor; on the others the error tells. Without, costs are errors times elements.
  bool divergence = true;
};
inline constexpr std::int64_t divergence_tokens = 2048;

// Calls `emit` once for every tensor with more than one candidate that `known` does not know, in the model's order,
// with a Sensitivity per candidate.
Status measure_sensitivities(const MeasureInput& input, std::span<const AllocatedTensor> tensors,
                             const std::function<bool(std::size_t tensor)>& known,
                             const std::function<Status(std::size_t tensor, std::vector<Sensitivity>)>& emit);

// Costs where `measured` is set are divergences; the others become error times a factor that is interpolated between
// theirs, on logarithmic scales, and constant beyond them.
void interpolate_costs(std::span<Sensitivity> candidates);

// Multiply-adds, and resident bytes (the process's own not counted), from shapes alone.
double measure_work(const ModelGraph& model, std::span<const AllocatedTensor> tensors, const Recipe& recipe,
                    bool divergence);
std::int64_t measure_bytes(const ModelGraph& model, std::span<const AllocatedTensor> tensors, bool divergence);

}  // namespace vernier
