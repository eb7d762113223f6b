// How fast each kernel runs on each instruction set, beside what bounds it, in turns in one process.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/cpu.h"
#include "base/json.h"
#include "vernier/status.h"

namespace vernier {

struct KernelSpeed {
  std::string kernel, shape, isa;
  std::string unit;                 // of both rates: "GB/s" or "GOP/s"
  std::string limit;                // what bounds it: "read loop", "copy loop", "oneDNN int8", "oneDNN fp32"
  double rate = 0, limit_rate = 0;  // medians

  double share() const { return limit_rate > 0 ? rate / limit_rate : 0; }
};
Json to_json(const KernelSpeed& row);

struct KernelSpeedOptions {
  std::vector<Isa> isas;  // that this CPU supports
  int repetitions = 5;
  std::string only;  // of the kernels, those whose name contains it
};

// Products on packed panels with 1 and 8 tokens (bound: reading the weights from memory) and 256 (oneDNN's u8 s8
// products), attention over a paged cache, and the operations between products. Shapes are those of a 1.4 B llama.
// Forces instruction sets while it runs, and goes back. Errors: interrupted.
Result<std::vector<KernelSpeed>> measure_kernels(const KernelSpeedOptions& options);

}  // namespace vernier
