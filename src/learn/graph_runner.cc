#include "learn/graph_runner.h"

#include <algorithm>
#include <cmath>

#include "base/fail.h"

namespace vernier::learn {
namespace {

// Row positions of a batch, on the device.
at::Tensor positions(const Batch& batch, at::Device device) {
  std::vector<std::int64_t> all;
  for (std::size_t s = 0; s < batch.lengths.size(); ++s) {
    const std::int64_t start = s < batch.starts.size() ? batch.starts[s] : 0;
    for (std::int64_t t = 0; t < batch.lengths[s]; ++t) all.push_back(start + t);
  }
  return at::tensor(all, at::kLong).to(device);
}

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, const Op& op) {
  const std::int64_t slice = op.slice > 0 ? op.slice : x.size(1);
  const at::Tensor parts = x.reshape({x.size(0), -1, slice});
  const at::Tensor normal = parts * at::rsqrt(parts.square().mean(-1, true) + op.eps);
  return (normal * (weight + op.unit_offset)).reshape(x.sizes());
}

at::Tensor rope(const at::Tensor& x, const at::Tensor& at_positions, const Op& op) {
  const at::Tensor frequency = at::tensor(op.rope.inverse_frequency, at::kFloat).to(x.device());
  const at::Tensor angle = at_positions.to(at::kFloat).unsqueeze(1) * frequency;  // [rows, head_dim / 2]
  const at::Tensor cosine = (angle.cos() * op.rope.magnitude).unsqueeze(1),
                   sine = (angle.sin() * op.rope.magnitude).unsqueeze(1);
  const at::Tensor heads = x.reshape({x.size(0), -1, op.head_dim});
  const std::int64_t half = op.head_dim / 2;
  const at::Tensor a = heads.slice(2, 0, half), b = heads.slice(2, half);
  return at::cat({a * cosine - b * sine, b * cosine + a * sine}, 2).reshape(x.sizes());
}

// One sequence: q [n, heads * head_dim], k and v [n, kv_heads * head_dim], all from position 0.
at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const Op& op) {
  const std::int64_t n = q.size(0), repeat = op.heads / op.kv_heads;
  const auto split = [&](const at::Tensor& t) { return t.reshape({n, -1, op.head_dim}).transpose(0, 1); };
  const at::Tensor keys = split(k).repeat_interleave(repeat, 0), entries = split(v).repeat_interleave(repeat, 0);
  const at::Tensor row = at::arange(n, q.options().dtype(at::kLong)).unsqueeze(1), column = row.transpose(0, 1);
  at::Tensor hidden = column > row;
  if (op.window > 0) hidden = hidden.logical_or(column <= row - op.window);
  const at::Tensor scores = at::matmul(split(q), keys.transpose(1, 2)) * op.scale;
  const at::Tensor shares = at::softmax(scores.masked_fill(hidden, -INFINITY), -1);
  return at::matmul(shares, entries).transpose(0, 1).reshape(q.sizes());
}

at::Tensor attention(const Batch& batch, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const Op& op) {
  std::vector<at::Tensor> parts;
  std::int64_t row = 0;
  for (const std::int64_t n : batch.lengths) {
    parts.push_back(attend(q.narrow(0, row, n), k.narrow(0, row, n), v.narrow(0, row, n), op));
    row += n;
  }
  return parts.size() == 1 ? parts[0] : at::cat(parts, 0);
}

// [tokens, 2 top_k]: expert ids, then their weights. A stable sort gives ties to the lower expert.
at::Tensor route(const at::Tensor& logits, const Op& op) {
  const at::Tensor shares = at::softmax(logits, -1);
  auto [sorted, order] = at::sort(shares, /*stable=*/true, -1, /*descending=*/true);
  at::Tensor weights = sorted.slice(1, 0, op.top_k);
  if (op.renormalize) weights = weights / weights.sum(1, true);
  return at::cat({order.slice(1, 0, op.top_k).to(weights.dtype()), weights}, 1);
}

// Rows of `routing` that chose `expert`, in token order, and which choice it was.
std::pair<at::Tensor, at::Tensor> routed_rows(const at::Tensor& routing, std::int64_t top_k, std::int64_t expert) {
  const at::Tensor hits = at::nonzero(routing.slice(1, 0, top_k).detach() == static_cast<double>(expert));
  return {hits.select(1, 0), hits.select(1, 1)};
}

at::Tensor combine(const std::vector<at::Tensor>& inputs, const Op& op) {
  const at::Tensor& routing = inputs[0];
  at::Tensor sum = at::zeros({routing.size(0), inputs[1].size(1)}, inputs[1].options());
  for (std::int64_t e = 0; e < op.experts; ++e) {
    const auto [rows, choice] = routed_rows(routing, op.top_k, e);
    if (rows.size(0) == 0) continue;
    const at::Tensor share = routing.index({rows, choice + op.top_k}).unsqueeze(1);
    sum = sum.index_add(0, rows, inputs[1 + e] * share);
  }
  return sum;
}

at::Tensor compute(const Op& op, int index, const TensorTable& weights, const Batch& batch,
                   const at::Tensor& row_positions, const std::vector<at::Tensor>& in, at::Device device) {
  const at::Tensor weight = op.weight >= 0 ? weights.tensors[op.weight] : at::Tensor();
  const at::Tensor bias = op.bias >= 0 ? weights.tensors[op.bias] : at::Tensor();
  switch (op.kind) {
    case OpKind::embedding: {
      const std::vector<std::int64_t> ids(batch.ids.begin(), batch.ids.end());
      return weight.index_select(0, at::tensor(ids, at::kLong).to(device));
    }
    case OpKind::position_embedding:
      return in[0] + weight.index_select(0, row_positions + op.offset);
    case OpKind::linear: {
      const auto quantizer = weights.activations.find(index);
      return at::linear(quantizer == weights.activations.end() ? in[0] : fake_quantize(in[0], quantizer->second),
                        weight, bias);
    }
    case OpKind::rms_norm:
      return rms_norm(in[0], weight, op);
    case OpKind::layer_norm:
      return at::layer_norm(in[0], {in[0].size(1)}, weight, bias, op.eps);
    case OpKind::rope:
      return rope(in[0], row_positions, op);
    case OpKind::attention:
      return attention(batch, in[0], in[1], in[2], op);
    case OpKind::silu:
      return at::silu(in[0]);
    case OpKind::relu:
      return at::relu(in[0]);
    case OpKind::gelu:
      return at::gelu(in[0]);
    case OpKind::multiply:
      return in[0] * in[1];
    case OpKind::add:
      return in[0] + in[1];
    case OpKind::route:
      return route(in[0], op);
    case OpKind::gather:
      return in[0].index_select(0, routed_rows(in[1], op.top_k, op.expert).first);
    case OpKind::combine:
      return combine(in, op);
  }
  return {};
}

}  // namespace

Status evaluate(const Graph& graph, const TensorTable& weights, const Batch& batch, TensorValues& values,
                std::span<const ValueId> targets, at::Device device) {
  values.resize(graph.values.size());
  std::vector<bool> keep(graph.values.size());
  for (std::size_t v = 0; v < values.size(); ++v) keep[v] = values[v].defined();
  const std::vector<int> needed = required_ops(graph, keep, targets);
  for (const ValueId target : targets) keep[target] = true;

  std::vector<int> readers(graph.values.size());
  for (const int index : needed) {
    for (const ValueId v : graph.ops[index].inputs) ++readers[v];
  }
  const at::Tensor row_positions = positions(batch, device);
  for (const int index : needed) {
    const Op& op = graph.ops[index];
    if (op.kind == OpKind::embedding) {
      const std::int64_t vocab = weights.tensors[op.weight].size(0);
      for (const TokenId id : batch.ids) {
        if (id < 0 || id >= vocab)
          return fail(ErrorCode::invalid, "{}: token id {} outside the vocabulary of {}", op.name, id, vocab);
      }
    }
    std::vector<at::Tensor> inputs;
    for (const ValueId v : op.inputs) inputs.push_back(values[v]);
    try {
      values[op.output] = compute(op, index, weights, batch, row_positions, inputs, device);
    } catch (const c10::Error& problem) {
      return fail(ErrorCode::failed, "{}: {}", op.name, problem.what_without_backtrace());
    }
    for (const ValueId v : op.inputs) {
      if (--readers[v] == 0 && !keep[v]) values[v] = at::Tensor();
    }
  }
  return {};
}

}  // namespace vernier::learn
