// The residual stream of a model, found from its ops: what writes into it, and the norms and linears that read it. All
// of them, and nothing else, see an orthogonal rotation of the hidden state (handbook, transforms, 2.2).
#pragma once

#include <string>
#include <vector>

#include "arch/graph.h"

namespace vernier {

// An op of the model: graph is an index into ModelGraph::graphs().
struct OpSite {
  int graph = 0, op = 0;
  bool operator==(const OpSite&) const = default;
};

struct ResidualStream {
  struct Norm {
    OpSite norm;
    std::vector<OpSite> readers;  // every linear that reads its output, routers and experts (through gathers) included
  };
  std::vector<Norm> norms;
  std::vector<OpSite> readers;  // linears on the stream itself
  std::vector<OpSite> writers;  // linears whose output is added to it
  std::vector<OpSite> tables;   // embeddings: their rows are vectors of the stream
  bool layer_norm = false;      // some norm subtracts the mean over channels
  bool tied_head = false;       // a reader's weight is a table as well

  // Unsupported where something else meets the stream (a norm on a branch before it is added, a norm whose output is
  // the stream, as in post-norm blocks): the message names the op and says why a rotation cannot pass it.
  static Result<ResidualStream> find(const ModelGraph& model);
};

}  // namespace vernier
