// The one description of a model that both executors run: named values and ops in single-assignment form.
//
// A value is a matrix [tokens, width]. An op reads earlier values and defines one new value. Blocks are graphs of their
// own whose single input and output is the hidden state, so that a model is walked one block at a time. No executor
// knows a layer's name; foldable edges and rotation sites are found from the ops (arch/edges.h).
//
// Mixtures stay in this form: `route` picks experts per token, `gather` selects the tokens of one expert (its value has
// fewer rows), `combine` adds the experts' weighted outputs back. Statistics keyed by value are so per expert.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "vernier/status.h"
#include "vernier/tensor.h"

namespace vernier {

using ValueId = std::int32_t;
using TensorId = std::int32_t;  // index into Graph::tensors; -1: none

enum class OpKind {
  embedding,           // ids -> weight rows
  position_embedding,  // x + weight[position + offset]
  linear,              // x W^T + bias
  rms_norm,            // x / rms(x) * (unit_offset + weight); over slices of `slice` columns when slice > 0
  layer_norm,          // (x - mean) / deviation * weight + bias; without weight or bias where these are -1
  rope,                // rotary positions on heads of head_dim (half-split layout of Hugging Face)
  attention,           // inputs q, k, v; causal, grouped heads, optional sliding window
  silu,
  relu,
  gelu,      // erf form
  multiply,  // elementwise, two inputs
  add,       // elementwise, two inputs
  route,     // input router logits [tokens, experts]; output [tokens, 2 * top_k]: expert ids, then weights
  gather,    // inputs x, routing; rows of x routed to `expert`, in token order
  combine,   // inputs routing, then one value per expert: sum of weight * expert output per token
};
std::string_view name(OpKind kind);

// Rotary frequencies, one per pair of columns, in radians per position; scaling rules are already applied.
struct Rope {
  std::vector<float> inverse_frequency;  // [head_dim / 2]
  float magnitude = 1.0f;                // factor on cos and sin (yarn)
};

struct Op {
  OpKind kind = OpKind::linear;
  std::string name;  // unique in the model, the checkpoint's module path: "model.layers.0.self_attn.q_proj"
  std::vector<ValueId> inputs;
  ValueId output = -1;
  TensorId weight = -1, bias = -1;

  // Attributes; each op kind reads its own.
  float eps = 0;              // norms
  float unit_offset = 0;      // rms_norm: 1 for (1 + w)
  std::int64_t slice = 0;     // rms_norm per head: head_dim
  std::int64_t heads = 0;     // rope, attention: query heads (rope on k: key heads)
  std::int64_t kv_heads = 0;  // attention
  std::int64_t head_dim = 0;  // rope, attention
  float scale = 0;            // attention: factor on q k^T
  std::int64_t window = 0;    // attention: position t sees t - window + 1 .. t; 0 = all
  Rope rope;                  // rope
  std::int64_t offset = 0;    // position_embedding
  std::int32_t expert = -1;   // gather; -1 elsewhere
  std::int64_t experts = 0;   // route, combine
  std::int64_t top_k = 0;     // route, gather, combine
  bool renormalize = true;    // route: the chosen experts' weights sum to 1
};

struct Value {
  std::string name;
  std::int64_t width = 0;
  std::int32_t expert = -1;  // the context of statistics: this value holds one expert's tokens
};

// A tensor of the checkpoint that a graph reads.
struct TensorRef {
  std::string name;  // "model.layers.0.self_attn.q_proj.weight"
  Shape shape;
};

struct Graph {
  std::string name;  // "model.layers.0"
  std::vector<Value> values;
  std::vector<Op> ops;
  std::vector<TensorRef> tensors;
  ValueId input = -1;  // -1 for the embedding graph, whose input is token ids
  ValueId output = -1;

  // Checks single assignment, order, widths and tensor shapes; the message names the op.
  Status validate() const;
};

// A whole model. Tied heads: head's linear refers to the embedding's tensor name.
struct ModelGraph {
  std::string architecture;  // registered name
  std::int64_t hidden = 0, vocab = 0, layers = 0, max_positions = 0;
  std::int64_t kv_heads = 0, head_dim = 0;
  std::int64_t window = 0;  // the widest sliding window; 0 when some layer sees everything
  bool tied_head = false;
  Graph embed;
  std::vector<Graph> blocks;
  Graph head;

  Status validate() const;
  std::vector<const Graph*> graphs() const;  // embed, blocks, head
};

// Builds graphs without bookkeeping: each call appends an op and returns its output value.
class GraphBuilder {
 public:
  explicit GraphBuilder(std::string name) { graph_.name = std::move(name); }

  ValueId input(std::string name, std::int64_t width);
  // Adds `op` (kind, name, attributes set by the caller) reading `inputs`; its value is named after the op.
  ValueId op(Op op, std::vector<ValueId> inputs, std::int64_t width, std::int32_t expert = -1);
  ValueId linear(const std::string& module, ValueId x, std::int64_t out_features, bool bias);
  ValueId rms_norm(const std::string& module, ValueId x, float eps, std::int64_t slice = 0, float unit_offset = 0);
  ValueId layer_norm(const std::string& module, ValueId x, float eps);
  ValueId unary(OpKind kind, const std::string& name, ValueId x);
  ValueId binary(OpKind kind, const std::string& name, ValueId a, ValueId b);
  // A tensor of the checkpoint, each named once per graph; ops that share one share its id.
  TensorId tensor(std::string name, Shape shape);
  std::int64_t width(ValueId v) const { return graph_.values[v].width; }
  std::int32_t expert(ValueId v) const { return graph_.values[v].expert; }

  Graph finish(ValueId output);

 private:
  Graph graph_;
};

}  // namespace vernier
