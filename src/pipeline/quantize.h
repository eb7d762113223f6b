// plan -> stream -> write, with a journal, so that a killed run continues where it stopped.
#pragma once

#include <string>
#include <vector>

#include "pipeline/plan.h"

namespace vernier {

// One quantized weight, as a line of OUT.run/tensors.jsonl.
struct TensorRecord {
  std::string name;
  GridSpec grid;
  double bits_per_weight = 0;
  SolveReport report;
  double seconds = 0;
  std::int64_t tokens = 0;                   // calibration tokens its Hessian saw
  std::optional<ActivationSpec> activation;  // on the linear's input, with its static scale
};

struct QuantizeResult {
  std::vector<TensorRecord> tensors;
  std::int64_t output_bytes = 0;
  std::int64_t peak_resident_bytes = 0;
  double seconds = 0;  // of this process
  bool resumed = false;
  std::string container;
};

// Where a run keeps its journal, records and spill files.
std::string run_folder(const RunOptions& options);
// Makes the folders of a run. With options.fresh what an earlier run left is removed; an output that is not of this
// run is an error.
Status claim_output(const RunOptions& options);

// Runs the plan into plan.options.out. An output with a matching journal is resumed; any other existing output is an
// error unless options.fresh. Interrupted runs return ErrorCode::interrupted and leave a resumable state.
Result<QuantizeResult> quantize(Plan plan);

}  // namespace vernier
