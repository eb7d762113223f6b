// The half of verify() that compares a model with the one it was made from.
#pragma once

#include "pipeline/verify.h"

namespace vernier {

// Adds to report.problems, notes and comparison.
Status compare_with_source(const ModelSource& model, const ModelSource& source, VerifyReport& report);

}  // namespace vernier
