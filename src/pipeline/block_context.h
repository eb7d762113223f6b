// What transforms see of the block that the engine works on.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "methods/method.h"
#include "pipeline/block_engine.h"
#include "pipeline/block_forward.h"
#include "pipeline/block_weights.h"

namespace vernier {

class EngineContext final : public BlockContext {
 public:
  EngineContext(const Graph& block, int index, BlockWeights& weights, const BlockForward& forward, Executor& executor,
                const std::map<std::string, LinearPlan>& plans, std::vector<std::string>& notes)
      : block_(block),
        index_(index),
        weights_(weights),
        forward_(forward),
        executor_(executor),
        plans_(plans),
        notes_(notes) {}

  const Graph& graph() const override { return block_; }
  int index() const override { return index_; }
  Result<Tensor*> master(TensorId tensor) override { return weights_.master(tensor); }
  Status master_changed(TensorId tensor) override;
  const WeightTable& weights() const override { return weights_.floating(); }
  Executor& executor() override { return executor_; }
  Result<std::vector<ChannelStats>> channel_stats(std::span<const ValueId> values) override;
  Result<Capture> capture(std::span<const ValueId> values, std::int64_t max_tokens) override;
  std::shared_ptr<const Grid> grid(int linear_op) const override;
  const Range* range(int linear_op) const override;
  std::optional<ActivationSpec> activation(int linear_op) const override;
  void note(std::string text) override { notes_.push_back(block_.name + ": " + std::move(text)); }

 private:
  const Graph& block_;
  int index_;
  BlockWeights& weights_;
  const BlockForward& forward_;
  Executor& executor_;
  const std::map<std::string, LinearPlan>& plans_;
  std::vector<std::string>& notes_;
};

}  // namespace vernier
