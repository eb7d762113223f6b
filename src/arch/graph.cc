#include "arch/graph.h"

namespace vernier {

std::string_view name(OpKind kind) {
  switch (kind) {
    case OpKind::embedding:
      return "embedding";
    case OpKind::position_embedding:
      return "position_embedding";
    case OpKind::linear:
      return "linear";
    case OpKind::rms_norm:
      return "rms_norm";
    case OpKind::layer_norm:
      return "layer_norm";
    case OpKind::rope:
      return "rope";
    case OpKind::attention:
      return "attention";
    case OpKind::silu:
      return "silu";
    case OpKind::relu:
      return "relu";
    case OpKind::gelu:
      return "gelu";
    case OpKind::multiply:
      return "multiply";
    case OpKind::add:
      return "add";
    case OpKind::route:
      return "route";
    case OpKind::gather:
      return "gather";
    case OpKind::combine:
      return "combine";
  }
  return "?";
}

std::vector<const Graph*> ModelGraph::graphs() const {
  std::vector<const Graph*> all{&embed};
  for (const Graph& block : blocks) all.push_back(&block);
  all.push_back(&head);
  return all;
}

ValueId GraphBuilder::input(std::string name, std::int64_t width) {
  graph_.input = static_cast<ValueId>(graph_.values.size());
  graph_.values.push_back({std::move(name), width, -1});
  return graph_.input;
}

ValueId GraphBuilder::op(Op op, std::vector<ValueId> inputs, std::int64_t width, std::int32_t expert) {
  const ValueId output = static_cast<ValueId>(graph_.values.size());
  graph_.values.push_back({op.name, width, expert});
  op.inputs = std::move(inputs);
  op.output = output;
  graph_.ops.push_back(std::move(op));
  return output;
}

ValueId GraphBuilder::linear(const std::string& module, ValueId x, std::int64_t out_features, bool bias) {
  Op op{.kind = OpKind::linear, .name = module};
  op.weight = tensor(module + ".weight", {out_features, width(x)});
  if (bias) op.bias = tensor(module + ".bias", {out_features});
  return this->op(std::move(op), {x}, out_features, expert(x));
}

ValueId GraphBuilder::rms_norm(const std::string& module, ValueId x, float eps, std::int64_t slice, float unit_offset) {
  Op op{.kind = OpKind::rms_norm, .name = module, .eps = eps, .unit_offset = unit_offset, .slice = slice};
  op.weight = tensor(module + ".weight", {slice > 0 ? slice : width(x)});
  return this->op(std::move(op), {x}, width(x), expert(x));
}

ValueId GraphBuilder::layer_norm(const std::string& module, ValueId x, float eps) {
  Op op{.kind = OpKind::layer_norm, .name = module, .eps = eps};
  op.weight = tensor(module + ".weight", {width(x)});
  op.bias = tensor(module + ".bias", {width(x)});
  return this->op(std::move(op), {x}, width(x), expert(x));
}

ValueId GraphBuilder::unary(OpKind kind, const std::string& name, ValueId x) {
  return op({.kind = kind, .name = name}, {x}, width(x), expert(x));
}

ValueId GraphBuilder::binary(OpKind kind, const std::string& name, ValueId a, ValueId b) {
  return op({.kind = kind, .name = name}, {a, b}, width(a), expert(a));
}

TensorId GraphBuilder::tensor(std::string name, Shape shape) {
  graph_.tensors.push_back({std::move(name), std::move(shape)});
  return static_cast<TensorId>(graph_.tensors.size() - 1);
}

Graph GraphBuilder::finish(ValueId output) {
  graph_.output = output;
  return std::move(graph_);
}

}  // namespace vernier
