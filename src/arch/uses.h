// Who defines and who reads each value of a graph: op indices.
#pragma once

#include <vector>

#include "arch/graph.h"

namespace vernier {

struct GraphUses {
  std::vector<int> definer;               // [values]; -1: the graph's input
  std::vector<std::vector<int>> readers;  // [values], in execution order

  explicit GraphUses(const Graph& graph) : definer(graph.values.size(), -1), readers(graph.values.size()) {
    for (int i = 0; i < static_cast<int>(graph.ops.size()); ++i) {
      definer[graph.ops[i].output] = i;
      for (const ValueId v : graph.ops[i].inputs) readers[v].push_back(i);
    }
  }
};

}  // namespace vernier
