// One pass of the engine over one block: transforms, stages, output.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "pipeline/block_engine.h"
#include "pipeline/block_forward.h"
#include "pipeline/block_methods.h"
#include "pipeline/block_stages.h"
#include "pipeline/block_statistics.h"
#include "pipeline/block_weights.h"

namespace vernier {

// What all blocks of an engine share.
struct BlockResources {
  const ModelSource& source;
  const std::map<std::string, LinearPlan>& plans;
  const Recipe& recipe;
  BlockMethods& methods;
  Executor& executor;
  SampleShape shape;
  std::string scratch;
  DType spill;
};

// Turns pieces of work, in multiply-adds as estimated, into calls that add up to a fixed total.
class WorkMeter {
 public:
  WorkMeter(double expected, double total, const std::function<void(double)>& report)
      : scale_(expected > 0 ? total / expected : 0), left_(total), report_(report) {}
  void done(double work) { advance(std::min(work * scale_, left_)); }
  void finish() { advance(left_); }

 private:
  void advance(double share);
  double scale_, left_;
  const std::function<void(double)>& report_;
};

class BlockRun {
 public:
  BlockRun(const BlockResources& resources, int index, const SpillFile& input, const EmitTensor& emit,
           std::vector<std::string>& notes, const std::function<void(double)>& on_progress);

  Status run(SpillFile& output);

 private:
  // Statistics of one group or pool of a stage.
  struct Statistics {
    std::unique_ptr<Hessian> hessian;
    std::unique_ptr<RangeStatistics> range;
    std::unique_ptr<SquareSums> squares;
    std::int64_t tokens = 0;
    void add(Matrix<const float> x);
  };
  struct StageState {
    const Stage* stage;
    std::vector<Statistics> groups, pools;
  };

  Status transform();
  Status emit_changed();
  Status run_stage(const Stage& stage);
  Status advance(const Stage& stage, const ForwardUnit& unit, ValueTable& table);
  Status feed(StageState& state, const std::vector<int>& wave, bool first, const ForwardUnit& unit, ValueTable& table);
  Statistics statistics(std::int64_t width, const std::vector<int>& linears) const;
  Status finish_statistics(StageState& state, const std::vector<int>& wave, bool first);
  Status solve_group(const StageGroup& group, const Statistics& own, const Statistics* pool);
  Status solve_linear(int op, const Statistics& own, const Statistics* pool);
  Status write_output(SpillFile& output, std::span<const ValueId> known);
  void drop_finished(const Stage& stage);
  double expected_work(const StagePlan& plan) const;
  double solve_work(const StageGroup& group) const;
  double statistics_work(const Stage& stage) const;

  const BlockResources& resources_;
  const Graph& block_;
  int index_;
  BlockForward forward_;
  const EmitTensor& emit_;
  std::vector<std::string>& notes_;
  const std::function<void(double)>& on_progress_;
  std::unique_ptr<BlockWeights> weights_;
  std::unique_ptr<WorkMeter> meter_;
  // Which weights the samples meet: between stages, and on the way to the next block.
  bool staged_, stages_quantized_, output_quantized_;
};

}  // namespace vernier
