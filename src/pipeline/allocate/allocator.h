// The Allocator seam: how many bits where, for a target size? It sees, per tensor and candidate grid, a cost and a
// size, and chooses one candidate of each tensor for the least sum of costs. What a candidate is, who measured its cost
// and which solver will quantize with it, it does not know.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "vernier/status.h"

namespace vernier {

struct AllocationCandidate {
  double cost = 0;        // of the whole tensor, >= 0; costs of tensors add up
  std::int64_t bits = 0;  // of the whole tensor, > 0
};
using AllocationItem = std::vector<AllocationCandidate>;

struct AllocationLimits {
  std::int64_t least_bits = 0, most_bits = 0;  // of all items together, both included
  double gap = 1e-4;                           // the search ends at a choice proven this near the least cost
  // The search ends here at the latest. Nodes come first, so that what is found does not depend on the machine.
  std::int64_t nodes = 20000;
  double seconds = 60;
};

struct Allocation {
  std::vector<std::size_t> choice;  // [items]
  double cost = 0;
  std::int64_t bits = 0;
  double gap = 0;  // proven: no choice within the limits costs less than (1 - gap) * cost
};

// By integer programming. invalid: an item without candidates, a cost or size out of range; not_found: no choice has a
// size within the limits.
Result<Allocation> allocate(std::span<const AllocationItem> items, const AllocationLimits& limits);

}  // namespace vernier
