// What each op means, in plain loops with double sums: slow, and simple enough to be read as the definition. Tests hold
// the descriptions in arch/ and the executors to it.
#pragma once

#include <span>

#include "arch/source.h"
#include "runtime/executor.h"

namespace vernier::testing {

// The output of one graph for one sequence that starts at position 0. `input` is null for the embedding graph.
Result<Buffer> reference_graph(const ModelSource& source, const Graph& graph, std::span<const TokenId> ids,
                               const Buffer* input);

// Logits [tokens, vocab] of one sequence.
Result<Buffer> reference_logits(const ModelSource& source, std::span<const TokenId> ids);

}  // namespace vernier::testing
