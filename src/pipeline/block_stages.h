// The order in which a block's linears are quantized, worked out from its graph alone.
//
// Linears that read one value form a group and share statistics. Groups at the same depth (the same number of quantized
// linears before them on the longest path) form a stage: q, k, v; then o; then gate, up; then down; for a mixture, w1
// and w3 of all experts, then w2 of all. Before each stage the calibration samples advance to the stage's live values.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "arch/graph.h"
#include "pipeline/block_engine.h"

namespace vernier {

struct StageGroup {
  ValueId input = -1;
  std::vector<int> linears;  // op indices, in execution order; each has a grid
  int pool = -1;             // index into Stage::pools, for inputs of one expert
};

// Tokens of all experts together, towards which the statistics of an expert with few tokens shrink.
struct StagePool {
  ValueId source = -1;  // the value that the members gather from; -1: the rows of all members
  std::int64_t width = 0;
  std::vector<int> groups;
};

struct Stage {
  std::vector<ValueId> known;  // spilled before the stage
  std::vector<ValueId> live;   // spilled during it: what this and later stages start from
  std::vector<StageGroup> groups;
  std::vector<StagePool> pools;
  std::vector<std::vector<int>> waves;  // groups whose Hessians are held at once
  std::vector<int> ops;                 // run by the advance, the experts' included
};

struct StagePlan {
  std::vector<Stage> stages;
  std::vector<ValueId> known;  // what the block's output is computed from at the end
};

// Values of one expert are never spilled (their rows vary): they are computed again from what is.
StagePlan plan_stages(const Graph& block, const std::map<std::string, LinearPlan>& plans);

// Groups of linears with a grid, by the value they read, in execution order.
std::vector<StageGroup> planned_groups(const Graph& block, const std::map<std::string, LinearPlan>& plans);

// The plan of a linear op that gets a grid, or null.
const LinearPlan* quantized_plan(const Graph& block, const std::map<std::string, LinearPlan>& plans, int op);

// Ids of experts do not survive rounding to bf16.
bool spills_exactly(const Graph& block, ValueId value);

double matrix_elements(const Graph& block, const std::vector<int>& ops);

}  // namespace vernier
