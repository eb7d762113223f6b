// How many tokens go through the models at once under a memory budget.
#pragma once

#include <cstdint>
#include <vector>

#include "arch/source.h"

namespace vernier {

struct Chunking {
  std::int64_t rows = 0;   // tokens per chunk; a multiple of the piece length
  bool stream = false;     // give weights' pages back after each block
  std::int64_t bytes = 0;  // resident at the worst moment, everything included
};

// For pieces of `length` tokens through every model of `models`, one model at a time. memory_bytes 0: unbounded, the
// working set stays moderate all the same. over_budget names the smallest budget that works.
Result<Chunking> plan_chunks(const std::vector<const ModelSource*>& models, std::int64_t length,
                             std::int64_t memory_bytes);

// Bytes of float values per token that live at once in the worst moment of `graph`.
std::int64_t working_bytes_per_row(const Graph& graph);

}  // namespace vernier
