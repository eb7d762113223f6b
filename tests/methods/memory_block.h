// A block in memory: random weights, random inputs, nothing on disk. What transforms see of the real engine.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/json.h"
#include "methods/method.h"

namespace vernier::testing {

class MemoryBlock final : public BlockContext {
 public:
  // The first block of a config.json; every linear but routers on `grid`, min-max ranges.
  MemoryBlock(const Json& config, const GridSpec& grid, std::int64_t sequences = 4, std::int64_t length = 24);

  const Graph& graph() const override { return graph_; }
  int index() const override { return 0; }
  Result<Tensor*> master(TensorId tensor) override { return &masters_[tensor]; }
  Status master_changed(TensorId tensor) override;
  const WeightTable& weights() const override { return table_; }
  Executor& executor() override { return *executor_; }
  Result<std::vector<ChannelStats>> channel_stats(std::span<const ValueId> values) override;
  Result<Capture> capture(std::span<const ValueId> values, std::int64_t max_tokens) override;
  std::shared_ptr<const Grid> grid(int linear_op) const override;
  const Range* range(int) const override { return range_.get(); }
  std::optional<ActivationSpec> activation(int linear_op) const override;
  void note(std::string text) override { notes.push_back(std::move(text)); }

  Buffer value(ValueId v);  // on all inputs, with the current weights
  Buffer output() { return value(graph_.output); }
  int op(const std::string& suffix) const;  // the op whose name ends like that
  // Mean squared error of the block's output once every linear on a grid is rounded to nearest.
  double quantized_error();

  std::vector<std::string> notes;
  std::optional<ActivationSpec> activations;  // for every linear on a grid

 private:
  Graph graph_;
  std::vector<Tensor> masters_;
  WeightTable table_;
  Batch batch_;
  Buffer input_;
  std::shared_ptr<const Grid> grid_;
  std::unique_ptr<Range> range_;
  std::unique_ptr<Executor> executor_;
};

// Small models with everything that folds must respect.
Json tiny_llama();    // grouped heads, biases on attention and MLP
Json tiny_qwen3();    // norms per head between q, k and attention
Json tiny_opt();      // LayerNorm with bias, ReLU, biases everywhere
Json tiny_mixtral();  // router and experts behind one norm

// Largest difference over the largest magnitude of `a`.
double relative_difference(const Buffer& a, const Buffer& b);

}  // namespace vernier::testing
