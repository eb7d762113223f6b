// Quantizes one block at a time on calibration activations: transforms, then for each group of linears that share an
// input the statistics, the solver, and the step of the activations through the quantized group.
//
// The block is run once. Between groups the live values of the graph (the hidden state and the next group's input) wait
// in spill files, rounded to the spill type whatever the budget, so that bytes do not depend on memory, micro-batch,
// threads or kills. State between blocks is one spill file of hidden states, hidden.<block>: the input of that block.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "arch/source.h"
#include "methods/method.h"
#include "pipeline/calibration.h"
#include "vernier/recipe.h"

namespace vernier {

// What the plan decided for one linear of a block.
struct LinearPlan {
  std::shared_ptr<const Grid> grid;  // null: stays in high precision
  std::shared_ptr<const Range> range;
  std::optional<ActivationSpec> activation;  // static scales are measured here
  bool column_groups = false;                // the container stores group_of_column
  std::vector<float> importance;             // SolveInput::importance from a file; empty: none
};

// One finished tensor of the block: quantized, or float because a transform changed it.
struct BlockTensor {
  std::string name;  // of the weight or vector
  std::optional<GridPart> part;
  std::optional<Tensor> dense;               // f32
  std::optional<ActivationSpec> activation;  // with its static scale
  SolveReport report;
  double seconds = 0;
  std::int64_t tokens = 0;  // calibration tokens that reached the linear
};
using EmitTensor = std::function<Status(BlockTensor)>;

struct BlockEngineOptions {
  std::string scratch;  // folder for spill files
  Recipe recipe;
};

class BlockEngine {
 public:
  // `plans` by weight tensor name. Solver and transforms come from options.recipe.
  static Result<std::unique_ptr<BlockEngine>> make(const ModelSource& source, const CalibrationSet& calibration,
                                                   std::map<std::string, LinearPlan> plans,
                                                   std::unique_ptr<Executor> executor, BlockEngineOptions options);
  virtual ~BlockEngine() = default;

  // Embeds the calibration ids into hidden.0.
  virtual Status begin() = 0;
  // Reads hidden.<block>, quantizes, writes hidden.<block + 1> durably. May be repeated after a kill.
  virtual Status run_block(int block, const EmitTensor& emit, std::vector<std::string>& notes) = 0;
  // Drops hidden.<block>, which no later block needs.
  virtual Status forget(int block) = 0;

  // Called with the share of a block's work that was just done. The calls of one block add up to block_work().
  std::function<void(double)> on_progress;
  // Calibration tokens x elements of the block's matrices.
  static double block_work(const Graph& block, std::int64_t tokens);

  // Sequences forwarded at once. A matter of ctx alone, whatever the budget: how a product is rounded may depend on how
  // many rows it has, and the bytes of the output must not depend on memory.
  static std::int64_t forward_sequences(std::int64_t ctx);

  // Resident bytes at the worst moment of one block, weights, Hessians, solver and forward included, the process's own
  // code and the caller's buffers not; and scratch bytes.
  static std::int64_t peak_bytes(const Graph& block, const std::map<std::string, LinearPlan>& plans,
                                 const Recipe& recipe, std::int64_t ctx);
  static std::int64_t scratch_bytes(const Graph& block, const std::map<std::string, LinearPlan>& plans,
                                    const Recipe& recipe, std::int64_t samples, std::int64_t ctx);
};

}  // namespace vernier
