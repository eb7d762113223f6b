// From a recipe with a target size (target_bpw) to one with a grid for every tensor: candidates, their measured costs,
// the allocator's choice. What comes out is a recipe of overrides, so that the rest of a run knows nothing of targets.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "pipeline/allocate/candidates.h"
#include "pipeline/allocate/measure.h"
#include "pipeline/plan.h"

namespace vernier {

struct AllocationReport {
  enum class Costs {
    divergence,   // KL of the model's predictions with that tensor alone quantized
    hessian,      // proxies from second moments of the inputs
    provisional,  // from shapes alone: nothing was measured yet
  };
  Costs costs = Costs::provisional;
  double target = 0, bits_per_weight = 0;
  double cost = 0;  // sum over the chosen candidates
  double gap = 0;   // no choice of this size costs less than (1 - gap) * cost
  std::vector<AllocatedTensor> tensors;
  std::vector<std::vector<Sensitivity>> sensitivities;  // [tensors][candidates]; empty where there is no choice
  std::vector<std::size_t> choice;                      // [tensors]
  double work = 0;                                      // multiply-adds of the measurement
  std::int64_t peak_bytes = 0;                          // resident, of the measurement
  double seconds = 0;                                   // of measuring in this process
};

struct AllocatedRecipe {
  Recipe recipe;  // target_bpw 0
  AllocationReport report;
};

// Measures, or continues a measurement, in the run's folder, and chooses. Claims the output first: with options.fresh
// an earlier run is discarded and the flag taken back. A choice made before with the same costs is read, not made
// again. invalid: a target out of reach (with the reachable range), a recipe with transforms. over_budget: a
// measurement that does not fit.
Result<AllocatedRecipe> allocate_recipe(const Recipe& recipe, RunOptions& options);

// The same without measuring: from a finished measurement in the run's folder, else with provisional costs.
Result<AllocatedRecipe> preview_allocation(const Recipe& recipe, const RunOptions& options);

// What a plan says of how its grids were chosen.
std::string allocation_note(const AllocationReport& report, const Plan& plan);
Json allocation_json(const AllocationReport& report);
std::string allocation_table(const AllocationReport& report);

}  // namespace vernier
