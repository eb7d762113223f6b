// What every graph must satisfy before an executor or a method sees it.
#include <cmath>
#include <unordered_map>
#include <unordered_set>

#include "arch/graph.h"
#include "base/fail.h"

namespace vernier {
namespace {

enum class Need { none, optional, required };

struct OpRule {
  std::size_t inputs;
  Need weight = Need::none;
  Need bias = Need::none;
};

OpRule rule_of(const Op& op) {
  switch (op.kind) {
    case OpKind::embedding:
      return {0, Need::required};
    case OpKind::position_embedding:
      return {1, Need::required};
    case OpKind::linear:
      return {1, Need::required, Need::optional};
    case OpKind::rms_norm:
      return {1, Need::required};
    case OpKind::layer_norm:
      return {1, Need::optional, Need::optional};
    case OpKind::attention:
      return {3};
    case OpKind::multiply:
    case OpKind::add:
    case OpKind::gather:
      return {2};
    case OpKind::combine:
      return {1 + static_cast<std::size_t>(op.experts)};
    default:
      return {1};
  }
}

// Checks one op against the values and tensors of its graph; inputs are known to be defined.
class OpCheck {
 public:
  OpCheck(const Graph& graph, const Op& op) : graph_(graph), op_(op) {}

  Status run() const {
    VN_TRY(operands());
    VN_TRY(experts());
    return widths();
  }

  template <class... Args>
  Error error(fmt::format_string<Args...> format, Args&&... args) const {
    return fail(ErrorCode::mismatch, "graph {}, op {} ({}): {}", graph_.name, op_.name, name(op_.kind),
                fmt::format(format, std::forward<Args>(args)...));
  }

 private:
  const Value& in(std::size_t i) const { return graph_.values[op_.inputs[i]]; }
  const Value& out() const { return graph_.values[op_.output]; }

  Status operand(const char* role, TensorId id, Need need) const {
    if (id < -1 || id >= static_cast<TensorId>(graph_.tensors.size()))
      return error("{} refers to tensor {}, wanted below {}", role, id, graph_.tensors.size());
    if (id < 0 && need == Need::required) return error("has no {}", role);
    if (id >= 0 && need == Need::none) return error("takes no {}, found {}", role, graph_.tensors[id].name);
    return {};
  }

  Status operands() const {
    const OpRule rule = rule_of(op_);
    if (op_.inputs.size() != rule.inputs) return error("takes {} inputs, found {}", rule.inputs, op_.inputs.size());
    VN_TRY(operand("weight", op_.weight, rule.weight));
    return operand("bias", op_.bias, rule.bias);
  }

  // Rows of a value belong to all tokens or to one expert's: only gather and combine change that.
  Status experts() const {
    std::int32_t wanted = -1;
    if (op_.kind == OpKind::gather) {
      wanted = op_.expert;
    } else if (op_.kind == OpKind::combine) {
      for (std::int64_t e = 0; e < op_.experts; ++e)
        if (in(1 + e).expert != e) return error("input {} holds expert {}, wanted {}", 1 + e, in(1 + e).expert, e);
    } else if (!op_.inputs.empty()) {
      wanted = in(0).expert;
      for (std::size_t i = 1; i < op_.inputs.size(); ++i)
        if (in(i).expert != wanted) return error("mixes rows of experts {} and {}", wanted, in(i).expert);
    }
    if (out().expert != wanted) return error("output holds expert {}, wanted {}", out().expert, wanted);
    return {};
  }

  Status shape(const char* role, TensorId id, const Shape& wanted) const {
    if (id < 0 || graph_.tensors[id].shape == wanted) return {};
    return error("{} {} has shape {}, wanted {}", role, graph_.tensors[id].name, graph_.tensors[id].shape.text(),
                 wanted.text());
  }

  Status equal(const char* what, std::int64_t found, std::int64_t wanted) const {
    return found == wanted ? Status() : error("{} is {}, wanted {}", what, found, wanted);
  }

  Status norm_widths() const {
    const std::int64_t width = in(0).width;
    if (op_.slice < 0 || (op_.slice > 0 && width % op_.slice != 0))
      return error("slices of {} columns do not divide width {}", op_.slice, width);
    if (!(op_.eps >= 0) || !std::isfinite(op_.eps)) return error("eps is {}, wanted a number >= 0", op_.eps);
    const Shape wanted{op_.slice > 0 ? op_.slice : width};
    VN_TRY(shape("weight", op_.weight, wanted));
    VN_TRY(shape("bias", op_.bias, wanted));
    return equal("output width", out().width, width);
  }

  Status rope_widths() const {
    VN_TRY(equal("heads * head_dim", op_.heads * op_.head_dim, in(0).width));
    VN_TRY(
        equal("frequencies times 2", 2 * static_cast<std::int64_t>(op_.rope.inverse_frequency.size()), op_.head_dim));
    if (!std::isfinite(op_.rope.magnitude)) return error("magnitude is {}", op_.rope.magnitude);
    for (float f : op_.rope.inverse_frequency)
      if (!std::isfinite(f)) return error("a frequency is {}", f);
    return equal("output width", out().width, in(0).width);
  }

  Status attention_widths() const {
    if (op_.kv_heads < 1 || op_.heads % op_.kv_heads != 0)
      return error("{} key heads do not divide {} query heads", op_.kv_heads, op_.heads);
    if (op_.window < 0) return error("window is {}, wanted >= 0", op_.window);
    if (!std::isfinite(op_.scale) || op_.scale == 0) return error("scale is {}, wanted a number", op_.scale);
    VN_TRY(equal("query width", in(0).width, op_.heads * op_.head_dim));
    VN_TRY(equal("key width", in(1).width, op_.kv_heads * op_.head_dim));
    VN_TRY(equal("value width", in(2).width, op_.kv_heads * op_.head_dim));
    return equal("output width", out().width, op_.heads * op_.head_dim);
  }

  Status routing_widths() const {
    if (op_.top_k < 1) return error("top_k is {}, wanted >= 1", op_.top_k);
    if (op_.kind == OpKind::route) {
      VN_TRY(equal("router width", in(0).width, op_.experts));
      if (op_.top_k > op_.experts) return error("picks {} of {} experts", op_.top_k, op_.experts);
      return equal("output width", out().width, 2 * op_.top_k);
    }
    if (op_.kind == OpKind::gather) {
      VN_TRY(equal("routing width", in(1).width, 2 * op_.top_k));
      if (op_.expert < 0) return error("expert is {}, wanted >= 0", op_.expert);
      return equal("output width", out().width, in(0).width);
    }
    VN_TRY(equal("routing width", in(0).width, 2 * op_.top_k));
    for (std::size_t i = 1; i < op_.inputs.size(); ++i) VN_TRY(equal("input width", in(i).width, out().width));
    return {};
  }

  Status widths() const {
    switch (op_.kind) {
      case OpKind::embedding: {
        const Shape& table = graph_.tensors[op_.weight].shape;
        return table.rank() == 2 ? equal("output width", out().width, table[1])
                                 : error("weight has shape {}, wanted [vocabulary, width]", table.text());
      }
      case OpKind::position_embedding: {
        const Shape& table = graph_.tensors[op_.weight].shape;
        if (table.rank() != 2 || op_.offset < 0 || table[0] <= op_.offset)
          return error("weight has shape {}, wanted more than {} rows", table.text(), op_.offset);
        VN_TRY(equal("weight columns", table[1], in(0).width));
        return equal("output width", out().width, in(0).width);
      }
      case OpKind::linear:
        VN_TRY(shape("weight", op_.weight, {out().width, in(0).width}));
        return shape("bias", op_.bias, {out().width});
      case OpKind::rms_norm:
      case OpKind::layer_norm:
        return norm_widths();
      case OpKind::rope:
        return rope_widths();
      case OpKind::attention:
        return attention_widths();
      case OpKind::route:
      case OpKind::gather:
      case OpKind::combine:
        return routing_widths();
      default:
        for (std::size_t i = 0; i < op_.inputs.size(); ++i) VN_TRY(equal("input width", in(i).width, out().width));
        return {};
    }
  }

  const Graph& graph_;
  const Op& op_;
};

Status check_widths(const ModelGraph& model, const Graph& graph, std::int64_t in, std::int64_t out) {
  const std::int64_t found_in = graph.input < 0 ? -1 : graph.values[graph.input].width;
  const std::int64_t found_out = graph.values[graph.output].width;
  if (found_in == in && found_out == out) return {};
  return fail(ErrorCode::mismatch, "{} model, graph {}: widths {} -> {}, wanted {} -> {} (-1: token ids)",
              model.architecture, graph.name, found_in, found_out, in, out);
}

}  // namespace

Status Graph::validate() const {
  std::vector<bool> defined(values.size(), false);
  const auto known = [&](ValueId v) { return v >= 0 && v < static_cast<ValueId>(values.size()); };
  for (const Value& v : values)
    if (v.width < 1) return fail(ErrorCode::mismatch, "graph {}: value {} has width {}", name, v.name, v.width);
  std::unordered_set<std::string> tensor_names;
  for (const TensorRef& t : tensors)
    if (!tensor_names.insert(t.name).second)
      return fail(ErrorCode::mismatch, "graph {}: tensor {} is listed twice", name, t.name);
  if (input != -1) {
    if (!known(input)) return fail(ErrorCode::mismatch, "graph {}: input {} is no value", name, input);
    defined[input] = true;
  }
  std::unordered_set<std::string> op_names;
  for (const Op& op : ops) {
    const OpCheck check(*this, op);
    if (!op_names.insert(op.name).second) return check.error("the name is used twice");
    for (ValueId v : op.inputs)
      if (!known(v) || !defined[v]) return check.error("reads value {} before it is defined", v);
    if (!known(op.output) || defined[op.output]) return check.error("defines value {} a second time", op.output);
    VN_TRY(check.run());
    defined[op.output] = true;
  }
  if (!known(output) || !defined[output]) return fail(ErrorCode::mismatch, "graph {}: output is not defined", name);
  for (std::size_t v = 0; v < values.size(); ++v)
    if (!defined[v]) return fail(ErrorCode::mismatch, "graph {}: value {} is never defined", name, values[v].name);
  return {};
}

Status ModelGraph::validate() const {
  std::unordered_set<std::string> op_names;
  std::unordered_map<std::string, Shape> shapes;
  for (const Graph* graph : graphs()) {
    VN_TRY(graph->validate());
    for (const Op& op : graph->ops)
      if (!op_names.insert(op.name).second)
        return fail(ErrorCode::mismatch, "{} model: two ops are named {}", architecture, op.name);
    for (const TensorRef& t : graph->tensors) {
      const auto [found, added] = shapes.emplace(t.name, t.shape);
      if (!added && found->second != t.shape)
        return fail(ErrorCode::mismatch, "{} model, graph {}: tensor {} is wanted as {} and as {}", architecture,
                    graph->name, t.name, found->second.text(), t.shape.text());
    }
  }
  if (static_cast<std::int64_t>(blocks.size()) != layers)
    return fail(ErrorCode::mismatch, "{} model: {} blocks, wanted {}", architecture, blocks.size(), layers);
  VN_TRY(check_widths(*this, embed, -1, hidden));
  for (const Graph& block : blocks) VN_TRY(check_widths(*this, block, hidden, hidden));
  return check_widths(*this, head, hidden, vocab);
}

}  // namespace vernier
