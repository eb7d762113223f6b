// Places where a per-channel factor moves from a producer into all of its consumers without changing the function
// (handbook, transforms, 2.1). Found from the ops of a graph, so an architecture lists none of them:
//  - a norm and every linear that reads it (routers, and experts through gather); none when anything else reads it
//  - v -> attention -> o, one factor per value channel of a kv head, repeated over the query heads that share it
//  - up -> multiply -> down, on the linear that is not behind the activation
//  - fc1 -> relu -> fc2 (positive factors only)
// A tied head is no consumer: its weight is the embedding's.
#pragma once

#include <string>
#include <vector>

#include "arch/graph.h"

namespace vernier {

struct ScaleEdge {
  enum class Kind { norm, value, gated, relu };
  Kind kind = Kind::norm;
  std::string name;                            // "model.layers.0.input_layernorm -> q_proj,k_proj,v_proj"
  int producer = -1;                           // op index: the norm, or the linear whose rows are divided
  std::vector<int> consumers;                  // op indices of linears whose columns are multiplied
  ValueId value = -1;                          // the consumers' input (for gather: the norm's output)
  std::int64_t channels = 0;                   // length of the factor, in producer channels
  std::vector<std::int32_t> producer_channel;  // [consumer columns]; the identity except for value edges
};

std::vector<ScaleEdge> scale_edges(const Graph& graph);

// Groups of linears that read the same value, in execution order: {q,k,v}, {o}, {gate,up}, {down}. Op indices.
std::vector<std::vector<int>> linear_groups(const Graph& graph);

}  // namespace vernier
