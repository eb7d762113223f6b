// The solver and transforms a recipe names, made ready.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "methods/method.h"
#include "pipeline/block_engine.h"
#include "vernier/recipe.h"

namespace vernier {

struct BlockMethods {
  std::unique_ptr<Solver> solver;
  bool needs_hessian = false;
  bool needs_importance = false;
  std::vector<std::unique_ptr<Transform>> transforms;

  // Errors: an unknown name, a solver where a transform belongs or the reverse, options the method refuses.
  static Result<BlockMethods> make(const Recipe& recipe);

  // Whether calibration tokens must be seen between the transforms and the solver.
  bool needs_statistics(const std::map<std::string, LinearPlan>& plans) const;
  // Whether they must tell this linear's importance.
  bool gathers_importance(const LinearPlan& plan) const { return needs_importance && plan.importance.empty(); }
};

// Whether a linear's input quantizer has parameters to be measured.
bool measures_range(const LinearPlan& plan);

}  // namespace vernier
