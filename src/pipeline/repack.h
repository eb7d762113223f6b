// A model in another container. Codes stay what they are wherever the container has a grid for them; what it cannot
// hold is rounded to one of its grids when the user says so, or reported.
#pragma once

#include <string>
#include <vector>

#include "pipeline/target_grids.h"
#include "vernier/status.h"

namespace vernier {

struct RepackOptions {
  std::string model, out;
  std::string container = "vernier";
  int head_bits = 0;  // 2, 3, 4, 6 or 8: a float head of its own is rounded to nearest, per row; 0: every float stays
  std::int64_t max_shard_bytes = 0;  // 0: usual_shard_bytes, or one GGUF file
  // With a recipe, a model of floats is rounded to it, too: the matrices that the recipe selects.
  RoundingOptions rounding;
};

struct Refusal {
  std::string tensor, grid, reason;
};

struct Rounded {
  std::string tensor, from, to;
  double error = 0;  // ||new - old|| / ||old||
};

struct RepackResult {
  std::vector<Refusal> refused;            // not empty: nothing was written
  std::vector<Rounded> rounded;            // weights whose grid changed, in output order
  std::int64_t quantized = 0, copied = 0;  // tensors
  std::int64_t output_bytes = 0;           // weight files
  double seconds = 0;
};

// Streams tensor by tensor. Errors: a weight whose codes cannot be read back, a container that does not hold the floats
// of the model, an output that exists. A failed run leaves no config.json.
Result<RepackResult> repack(const RepackOptions& options);

}  // namespace vernier
