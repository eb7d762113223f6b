// What a run will do, worked out from shapes alone: no weight is read.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "arch/graph.h"
#include "base/json.h"
#include "containers/container.h"
#include "io/checkpoint.h"
#include "io/safetensors.h"
#include "methods/method.h"
#include "pipeline/importance.h"
#include "pipeline/source_tensors.h"
#include "vernier/recipe.h"

namespace vernier {

struct RunOptions {
  std::string model, out;
  std::string container;  // empty: compressed-tensors where it holds the result, else vernier
  std::string calib;      // text or JSONL file, "self" or "random"; empty: self
  std::string scratch;    // empty: OUT.run
  std::string imatrix;    // importance matrix; empty: none
  std::string device = "cpu";
  std::int64_t memory_bytes = 0;     // 0: three quarters of what is available
  std::int64_t max_shard_bytes = 0;  // 0: usual_shard_bytes, or one GGUF file
  bool fresh = false;                // discard an earlier run's state and output
};

constexpr std::int64_t usual_shard_bytes = std::int64_t{4} << 30;

struct PlannedShard {
  std::string file;  // "model-00001-of-00003.safetensors", "model.gguf"
  SafetensorsPlan plan;
};

struct PlanStage {
  std::string name;             // "block forward", "hessian", "solve", "write"
  std::int64_t peak_bytes = 0;  // resident, everything included
};

struct Plan {
  RunOptions options;
  Recipe recipe;
  std::unique_ptr<Checkpoint> checkpoint;
  std::optional<ModelGraph> graph;  // none: an architecture nobody described, quantized by tensor pattern
  const ContainerDescriptor* container = nullptr;
  OutputPlan output;
  std::vector<PlannedShard> shards;
  Companions companions;
  std::vector<std::string> notes;  // choices and warnings worth printing
  bool calibrated = false;
  Importance importance;          // from options.imatrix
  std::int64_t memory_bytes = 0;  // the budget
  std::vector<PlanStage> stages;
  std::int64_t peak_bytes = 0;  // the largest stage
  std::int64_t smallest_budget_bytes = 0;
  std::int64_t scratch_bytes = 0;
  std::int64_t output_bytes = 0;  // every file of the output
  double flops = 0;
  double seconds = 0;  // estimate from a probe; 0 when not probed

  double bits_per_weight() const;  // over quantized weights, parameters included
};

// Refuses: shapes the grid cannot hold, an unknown method option, a budget below the smallest that works (named).
Result<Plan> make_plan(const Recipe& recipe, const RunOptions& options, bool probe = true);
// Tensors in output order, cut into files of at most max_shard_bytes.
Result<std::vector<PlannedShard>> place_tensors(const ContainerDescriptor& container, const OutputPlan& output);
bool wants_index(const Plan& plan);  // whether its files are shards that an index lists
// model.safetensors.index.json of the output.
std::string shard_index(const std::vector<PlannedShard>& shards);
Json plan_json(const Plan& plan);
std::string plan_summary(const Plan& plan);
std::string plan_table(const Plan& plan);  // every tensor, then the summary

}  // namespace vernier
