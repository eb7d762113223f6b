// The loop over blocks: each step of a run quantizes or copies one graph's tensors and writes them durably.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "pipeline/block_engine.h"
#include "pipeline/journal.h"
#include "pipeline/output_folder.h"
#include "pipeline/plan.h"
#include "pipeline/quantize.h"

namespace vernier {

// One step: the tensors that are finished by it. block < 0: no block of the graph (embedding, head, tensors nobody
// names).
struct Step {
  std::string name;  // in the journal
  int block = -1;
  std::vector<std::size_t> weights;  // indices into plan.output.weights
};
std::vector<Step> plan_steps(const Plan& plan);

class Stream {
 public:
  // `engine` is null for data-free recipes. `progress` hears the work done, as step_work() counts it.
  Stream(Plan& plan, OutputFolder& output, std::unique_ptr<BlockEngine> engine,
         std::function<void(double, std::string_view)> progress);
  ~Stream();

  // Runs one step; its tensors are written but not yet synced. Records go to `records`.
  Status run(const Step& step, std::vector<TensorRecord>& records);
  // After the step is journaled: what only it needed can go.
  Status forget(const Step& step);

 private:
  Status quantize_data_free(WeightPlan& weight, std::vector<TensorRecord>& records);
  Status copy(const WeightPlan& weight);
  // Whether the transforms of whole models may have changed the tensor: then it is read through them.
  bool rewritten(const std::string& name) const { return rewritten_.contains(name) || !plan_.checkpoint->find(name); }
  Status copy_rewritten(const WeightPlan& weight);
  Result<Tensor> float_values(const WeightPlan& weight) const;
  // A tensor in its planned type, as the container stores it.
  Status write_copied(const WeightPlan& weight, const TensorView& values);
  Status write_quantized(WeightPlan& weight, const BlockTensor& tensor, std::vector<TensorRecord>& records);
  Status write_dense(const WeightPlan& weight, const Tensor& values);

  Plan& plan_;
  OutputFolder& output_;
  std::unique_ptr<BlockEngine> engine_;
  std::function<void(double, std::string_view)> progress_;
  std::unique_ptr<Solver> solver_;
  std::set<std::string> rewritten_;
};

// Work in the progress line's units: weights, times calibration tokens where there are any.
double step_work(const Plan& plan, const Step& step);
double plan_work(const Plan& plan);

}  // namespace vernier
