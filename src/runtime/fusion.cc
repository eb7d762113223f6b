#include "runtime/fusion.h"

#include <algorithm>

namespace vernier {
namespace {

bool can_give_codes(const Op& op) {
  return (op.kind == OpKind::rms_norm && op.slice == 0) || op.kind == OpKind::multiply;
}

bool reads(const Op& op, ValueId v) { return std::find(op.inputs.begin(), op.inputs.end(), v) != op.inputs.end(); }

}  // namespace

Fusion find_fusion(const Graph& graph, std::span<const int> steps, const std::vector<bool>& keep,
                   const std::function<std::optional<kernels::RowsFormat>(int op)>& integer_format) {
  Fusion fusion{std::vector<bool>(graph.values.size()), std::vector<bool>(graph.values.size())};
  std::vector<int> readers(graph.values.size());
  for (const int step : steps) {
    for (const ValueId v : graph.ops[step].inputs) ++readers[v];
  }
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const Op& op = graph.ops[steps[i]];
    if (!can_give_codes(op) || keep[op.output] || readers[op.output] == 0) continue;
    std::optional<kernels::RowsFormat> format;
    bool fits = true;
    for (std::size_t j = i + 1, left = readers[op.output]; fits && left > 0; ++j) {
      const Op& next = graph.ops[steps[j]];
      if (reads(next, op.output)) {
        const auto wanted = next.kind == OpKind::linear ? integer_format(steps[j]) : std::nullopt;
        fits = wanted && (!format || *format == *wanted);
        format = wanted;
        --left;
      } else {
        fits = next.kind != OpKind::linear && !can_give_codes(next);
      }
    }
    if (!fits) continue;
    fusion.codes[op.output] = true;
    if (op.kind != OpKind::multiply) continue;
    const ValueId first = op.inputs[0];
    const bool alone = readers[first] == 1 && !keep[first];
    for (const int step : steps) {
      if (alone && graph.ops[step].output == first && graph.ops[step].kind == OpKind::silu) fusion.silu[first] = true;
    }
  }
  return fusion;
}

}  // namespace vernier
