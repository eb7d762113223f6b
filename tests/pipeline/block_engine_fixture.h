// A float checkpoint as a ModelSource, a plan for all its linears, and one run of the engine over a block.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "io/checkpoint.h"
#include "pipeline/block_engine.h"
#include "support/support.h"

namespace vernier::testing {

class FloatSource final : public ModelSource {
 public:
  static Result<std::unique_ptr<FloatSource>> open(const std::string& folder);

  const std::vector<SourceTensor>& tensors() const override { return tensors_; }
  Result<std::shared_ptr<const WeightMatrix>> matrix(const std::string& name) const override;
  Result<Tensor> vector(const std::string& name) const override;
  std::optional<ActivationSpec> activation(const std::string&) const override { return {}; }
  void release(const Graph& graph) const override;

 private:
  std::unique_ptr<Checkpoint> checkpoint_;
  std::vector<SourceTensor> tensors_;
};

CalibrationSet random_tokens(std::int64_t samples, std::int64_t ctx, std::int64_t vocab);

// Integer grids of `bits`, groups of 64, for every linear but routers.
std::map<std::string, LinearPlan> plan_all(const Graph& block, int bits, std::optional<ActivationSpec> activation = {});

// Everything one block yields.
struct BlockResult {
  Status status;
  std::map<std::string, BlockTensor> tensors;
  std::vector<std::string> order, notes;
  std::vector<float> hidden;  // the next block's input
  double work = 0;
};

struct EngineRun {
  const ModelSource& source;
  const CalibrationSet& calibration;
  std::map<std::string, LinearPlan> plans;
  Recipe recipe;
  std::string scratch;
  std::function<void(const BlockTensor&)> on_tensor;

  Result<std::unique_ptr<BlockEngine>> engine() const;
  // begin() and run_block(0).
  BlockResult first_block() const;
};

// hidden.<block> of a scratch folder.
std::vector<float> read_hidden(const EngineRun& run, int block);
// The block's output by one plain forward from hidden.0 with the given codes (none: the float weights).
std::vector<float> direct_forward(const EngineRun& run, const std::map<std::string, BlockTensor>& tensors);

// Largest difference over the largest magnitude.
double relative_difference(const std::vector<float>& a, const std::vector<float>& b);
// Equal codes, parameters and column groups.
void expect_same_bytes(const BlockResult& a, const BlockResult& b);

}  // namespace vernier::testing
