// The `edges` option that transforms share: which kinds of edge to work on.
#pragma once

#include <string>
#include <vector>

#include "methods/fold.h"

namespace vernier {

// `text`: "all", "norm", or kinds joined by "+" ("norm+gated"). Errors name the unknown kind.
Result<std::vector<ScaleEdge::Kind>> edge_kinds(const std::string& text);
std::vector<ScaleEdge> edges_of_kinds(const BlockContext& block, const std::vector<ScaleEdge::Kind>& kinds);
// The same before a block is open: every edge of `graph`.
std::vector<ScaleEdge> edges_of_kinds(const Graph& graph, const std::vector<ScaleEdge::Kind>& kinds);

}  // namespace vernier
