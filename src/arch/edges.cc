#include "arch/edges.h"

#include <algorithm>
#include <numeric>

#include "arch/uses.h"

namespace vernier {
namespace {

class Uses {
 public:
  explicit Uses(const Graph& graph) : graph_(graph), uses_(graph) {}

  // A linear whose weight belongs to it alone (a tied head reads the embedding's).
  bool is_own_linear(int op) const {
    if (op < 0 || graph_.ops[op].kind != OpKind::linear) return false;
    return graph_.tensors[graph_.ops[op].weight].name == graph_.ops[op].name + ".weight";
  }

  // The linears that read `v`, through gathers too; empty when anything else sees it.
  std::vector<int> only_linears(ValueId v) const {
    if (v == graph_.output) return {};
    std::vector<int> linears;
    for (int reader : uses_.readers[v]) {
      if (is_own_linear(reader)) {
        linears.push_back(reader);
      } else if (graph_.ops[reader].kind == OpKind::gather) {
        const std::vector<int> behind = only_linears(graph_.ops[reader].output);
        if (behind.empty()) return {};
        linears.insert(linears.end(), behind.begin(), behind.end());
      } else {
        return {};
      }
    }
    std::sort(linears.begin(), linears.end());
    return linears;
  }

  // The linear that defines `v`, when `reader` is the only one to see it; else -1.
  int private_linear(ValueId v, int reader) const {
    const bool sole = v != graph_.output && uses_.readers[v] == std::vector<int>{reader};
    return sole && is_own_linear(uses_.definer[v]) ? uses_.definer[v] : -1;
  }

 private:
  const Graph& graph_;
  const GraphUses uses_;
};

// "producer -> a,b": consumers without the module path they share.
std::string edge_name(const Graph& graph, const ScaleEdge& edge) {
  const std::string& first = graph.ops[edge.consumers[0]].name;
  std::size_t shared = first.rfind('.') + 1;
  for (int c : edge.consumers)
    while (shared > 0 && graph.ops[c].name.compare(0, shared, first, 0, shared) != 0)
      shared = shared < 2 ? 0 : first.rfind('.', shared - 2) + 1;
  std::string text = graph.ops[edge.producer].name + " -> ";
  for (int c : edge.consumers) {
    if (c != edge.consumers[0]) text += ',';
    text += graph.ops[c].name.substr(shared);
  }
  return text;
}

// Column (h, i) of the attention's output carries channel (h / (heads / kv_heads), i) of v.
std::vector<std::int32_t> value_channels(const Op& attention) {
  std::vector<std::int32_t> channels(attention.heads * attention.head_dim);
  const std::int64_t group = attention.heads / attention.kv_heads;
  for (std::int64_t h = 0; h < attention.heads; ++h)
    for (std::int64_t i = 0; i < attention.head_dim; ++i)
      channels[h * attention.head_dim + i] = static_cast<std::int32_t>(h / group * attention.head_dim + i);
  return channels;
}

// The op whose channels can be divided when the readers of op `i` are multiplied, by the kind of `i`; -1: none.
int producer_of(const Graph& graph, const Uses& uses, int i, ScaleEdge::Kind& kind) {
  const Op& op = graph.ops[i];
  switch (op.kind) {
    case OpKind::rms_norm:
    case OpKind::layer_norm:
      kind = ScaleEdge::Kind::norm;
      return op.weight >= 0 && op.slice == 0 ? i : -1;
    case OpKind::attention:
      kind = ScaleEdge::Kind::value;
      return uses.private_linear(op.inputs[2], i);
    case OpKind::multiply: {
      kind = ScaleEdge::Kind::gated;
      const int second = uses.private_linear(op.inputs[1], i);
      return second >= 0 ? second : uses.private_linear(op.inputs[0], i);
    }
    case OpKind::relu:
      kind = ScaleEdge::Kind::relu;
      return uses.private_linear(op.inputs[0], i);
    default:
      return -1;
  }
}

}  // namespace

std::vector<ScaleEdge> scale_edges(const Graph& graph) {
  const Uses uses(graph);
  std::vector<ScaleEdge> edges;
  for (int i = 0; i < static_cast<int>(graph.ops.size()); ++i) {
    ScaleEdge edge;
    edge.producer = producer_of(graph, uses, i, edge.kind);
    if (edge.producer < 0) continue;
    edge.value = graph.ops[i].output;
    edge.consumers = uses.only_linears(edge.value);
    if (edge.consumers.empty()) continue;
    edge.channels = graph.values[graph.ops[edge.producer].output].width;
    if (edge.kind == ScaleEdge::Kind::value) {
      edge.producer_channel = value_channels(graph.ops[i]);
    } else {
      edge.producer_channel.resize(edge.channels);
      std::iota(edge.producer_channel.begin(), edge.producer_channel.end(), 0);
    }
    edge.name = edge_name(graph, edge);
    edges.push_back(std::move(edge));
  }
  return edges;
}

std::vector<std::vector<int>> linear_groups(const Graph& graph) {
  std::vector<std::vector<int>> groups;
  std::vector<int> group_of_value(graph.values.size(), -1);
  for (int i = 0; i < static_cast<int>(graph.ops.size()); ++i) {
    if (graph.ops[i].kind != OpKind::linear) continue;
    int& group = group_of_value[graph.ops[i].inputs[0]];
    if (group < 0) {
      group = static_cast<int>(groups.size());
      groups.emplace_back();
    }
    groups[group].push_back(i);
  }
  return groups;
}

}  // namespace vernier
