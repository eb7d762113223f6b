// Gathers an importance matrix: calibration samples go through the float model, block by block.
#pragma once

#include <cstdint>
#include <string>

#include "arch/source.h"
#include "io/imatrix.h"
#include "pipeline/calibration.h"

namespace vernier {

struct ImatrixOptions {
  std::string scratch;            // folder of the hidden states between blocks; removed at the end
  std::int64_t memory_bytes = 0;  // the budget
};

struct ImatrixResult {
  ImportanceFile file;
  std::int64_t peak_bytes = 0;  // what the plan allowed for
};

// Entries of every linear of the blocks and of the head, in the model's order; experts of one projection in one entry.
// over_budget when the budget does not hold the largest block.
Result<ImatrixResult> gather_imatrix(const ModelSource& source, const CalibrationSet& calibration,
                                     const ImatrixOptions& options);

}  // namespace vernier
