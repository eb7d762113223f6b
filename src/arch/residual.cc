#include "arch/residual.h"

#include <algorithm>
#include <set>

#include "arch/uses.h"
#include "base/fail.h"

namespace vernier {
namespace {

// Follows the stream through one graph from a value that is known to be on it.
class Walk {
 public:
  Walk(const Graph& graph, int index, ResidualStream& found)
      : graph_(graph), uses_(graph), index_(index), found_(found), on_stream_(graph.values.size(), false) {}

  Status run(ValueId start) {
    on_stream_[start] = true;
    std::vector<ValueId> open{start};
    while (!open.empty()) {
      const ValueId v = open.back();
      open.pop_back();
      if (uses_.definer[v] >= 0) VN_TRY(defined_by(uses_.definer[v], open));
      for (const int reader : uses_.readers[v]) VN_TRY(read_by(reader, v, open));
    }
    return {};
  }
  bool on_stream(ValueId v) const { return on_stream_[v]; }

 private:
  Error cannot(const Op& op, std::string_view why) const {
    return fail(ErrorCode::unsupported, "{}: the residual stream cannot be rotated: {}", op.name, why);
  }

  void mark(ValueId v, std::vector<ValueId>& open) {
    if (on_stream_[v]) return;
    on_stream_[v] = true;
    open.push_back(v);
  }

  Status defined_by(int i, std::vector<ValueId>& open) {
    const Op& op = graph_.ops[i];
    switch (op.kind) {
      case OpKind::linear:
        found_.writers.push_back({index_, i});
        return {};
      case OpKind::embedding:
        found_.tables.push_back({index_, i});
        return {};
      case OpKind::position_embedding:
        found_.tables.push_back({index_, i});
        mark(op.inputs[0], open);
        return {};
      case OpKind::add:
      case OpKind::gather:
        mark(op.inputs[0], open);
        if (op.kind == OpKind::add) mark(op.inputs[1], open);
        return {};
      case OpKind::combine:
        for (std::size_t k = 1; k < op.inputs.size(); ++k) mark(op.inputs[k], open);
        return {};
      default:
        return cannot(op, fmt::format("a {} writes into it", name(op.kind)));
    }
  }

  Status read_by(int i, ValueId v, std::vector<ValueId>& open) {
    const Op& op = graph_.ops[i];
    switch (op.kind) {
      case OpKind::linear:
        found_.readers.push_back({index_, i});
        return {};
      case OpKind::rms_norm:
      case OpKind::layer_norm: {
        if (op.slice > 0) return cannot(op, "a norm over slices of it reads it");
        ResidualStream::Norm norm{{index_, i}, {}};
        VN_TRY(readers_of(op.output, op, norm.readers));
        found_.layer_norm |= op.kind == OpKind::layer_norm;
        found_.norms.push_back(std::move(norm));
        return {};
      }
      case OpKind::add:
      case OpKind::position_embedding:
        mark(op.output, open);
        return {};
      case OpKind::gather:
      case OpKind::combine:
        if (op.inputs[op.kind == OpKind::gather ? 1 : 0] == v) return cannot(op, "it is read as a routing");
        mark(op.output, open);
        return {};
      default:
        return cannot(op, fmt::format("a {} reads it", name(op.kind)));
    }
  }

  // The linears that read a norm's output.
  Status readers_of(ValueId v, const Op& norm, std::vector<OpSite>& readers) const {
    if (v == graph_.output) return cannot(norm, "the norm's output is the stream itself");
    for (const int i : uses_.readers[v]) {
      const Op& op = graph_.ops[i];
      if (op.kind == OpKind::linear)
        readers.push_back({index_, i});
      else if (op.kind == OpKind::gather && op.inputs[0] == v)
        VN_TRY(readers_of(op.output, norm, readers));
      else
        return cannot(norm, fmt::format("{} ({}) reads the norm's output", op.name, name(op.kind)));
    }
    return {};
  }

  const Graph& graph_;
  const GraphUses uses_;
  int index_;
  ResidualStream& found_;
  std::vector<bool> on_stream_;
};

}  // namespace

Result<ResidualStream> ResidualStream::find(const ModelGraph& model) {
  ResidualStream found;
  const std::vector<const Graph*> graphs = model.graphs();
  std::set<std::string> tables;
  for (int g = 0; g < static_cast<int>(graphs.size()); ++g) {
    const Graph& graph = *graphs[g];
    Walk walk(graph, g, found);
    VN_TRY(walk.run(graph.input >= 0 ? graph.input : graph.output));
    const bool last = g + 1 == static_cast<int>(graphs.size());
    if (!last && !walk.on_stream(graph.output)) {
      const auto maker =
          std::find_if(graph.ops.begin(), graph.ops.end(), [&](const Op& op) { return op.output == graph.output; });
      return fail(ErrorCode::unsupported, "{}: the residual stream cannot be rotated: a {} makes a new one",
                  maker->name, name(maker->kind));
    }
  }
  const auto weight_name = [&](const OpSite& site) {
    const Graph& graph = *graphs[site.graph];
    return graph.tensors[graph.ops[site.op].weight].name;
  };
  for (const OpSite& site : found.tables) tables.insert(weight_name(site));
  for (const OpSite& site : found.readers) found.tied_head |= tables.contains(weight_name(site));
  for (const Norm& norm : found.norms)
    for (const OpSite& site : norm.readers) found.tied_head |= tables.contains(weight_name(site));
  return found;
}

}  // namespace vernier
