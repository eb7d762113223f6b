// Writes quantized model folders by rounding to nearest: what the pipeline does, without the pipeline.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "containers/container.h"

namespace vernier::testing {

// What to write. `choose` gives the plan of each quantized matrix; the default takes every linear of a block under
// `grid` and `activation`.
struct QuantizedFolder {
  std::string container = "vernier";
  GridSpec grid;
  std::optional<ActivationSpec> activation;
  bool column_groups = false;
  // Changes a weight's plan before anything is written; clear `grid` to copy it.
  std::function<void(WeightPlan&)> choose = [](WeightPlan&) {};
};

struct WrittenFolder {
  OutputPlan plan;
  std::map<std::string, GridPart> parts;  // by weight name
};

// The plan alone. `checkpoint` must outlive it.
OutputPlan plan_folder(const Checkpoint& checkpoint, const QuantizedFolder& options);

// One shard, config.json and the companions of `checkpoint` into `folder`.
Result<WrittenFolder> write_folder(const Checkpoint& checkpoint, const QuantizedFolder& options,
                                   const std::string& folder);

}  // namespace vernier::testing
