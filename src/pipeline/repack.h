// A quantized model in another container, code for code: nothing is quantized again.
#pragma once

#include <string>
#include <vector>

#include "vernier/status.h"

namespace vernier {

struct RepackOptions {
  std::string model, out;
  std::string container = "vernier";
  int head_bits = 0;  // 2, 3, 4, 6 or 8: a float head of its own is rounded to nearest, per row; 0: every float stays
  std::int64_t max_shard_bytes = std::int64_t{4} << 30;
};

struct Refusal {
  std::string tensor, grid, reason;
};

struct RepackResult {
  std::int64_t quantized = 0, copied = 0;  // tensors
  std::int64_t output_bytes = 0;           // weight files
  double seconds = 0;
};

// Streams tensor by tensor. Errors: a weight whose codes cannot be read back, a container that does not hold it, an
// output that exists. A failed run leaves no config.json.
Result<RepackResult> repack(const RepackOptions& options);

// Every weight of the model that the container does not hold, with the reason. Empty: repack() will find nothing to
// refuse in a single weight. Reads no weight.
Result<std::vector<Refusal>> repack_refusals(const RepackOptions& options);

}  // namespace vernier
