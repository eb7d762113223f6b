// Runs graphs. One interface, two implementations: runtime/ on kernels (below), learn/ in libtorch with gradients.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "arch/graph.h"
#include "arch/source.h"
#include "vernier/format.h"
#include "vernier/tokenizer.h"

namespace vernier {

// Rows of a batch: sequences one after another, sequence s holding tokens length[s] at positions start[s] .. .
struct Batch {
  std::vector<std::int64_t> lengths;
  std::vector<std::int64_t> starts;  // first position of each; > 0 continues a KV cache
  std::vector<int> cache_slots;      // slot of each sequence in the KvCache; empty without one
  std::span<const TokenId> ids;      // [rows]; only the embedding graph reads them

  std::int64_t rows() const;
  static Batch uniform(std::int64_t sequences, std::int64_t length);  // from position 0, no cache
};

// A float matrix that owns its memory; rows x cols, contiguous.
struct Buffer {
  std::int64_t rows = 0, cols = 0;
  std::vector<float> data;

  Buffer() = default;
  Buffer(std::int64_t rows, std::int64_t cols) : rows(rows), cols(cols), data(rows * cols) {}
  Matrix<float> matrix() { return {data.data(), rows, cols}; }
  Matrix<const float> matrix() const { return {data.data(), rows, cols}; }
};

// The values of one graph that are known so far, by ValueId.
class ValueTable {
 public:
  explicit ValueTable(const Graph& graph) : values_(graph.values.size()) {}
  bool has(ValueId v) const { return values_[v].has_value(); }
  Buffer& operator[](ValueId v) { return *values_[v]; }
  const Buffer& operator[](ValueId v) const { return *values_[v]; }
  void set(ValueId v, Buffer b) { values_[v] = std::move(b); }
  Buffer take(ValueId v);
  void erase(ValueId v) { values_[v].reset(); }

 private:
  std::vector<std::optional<Buffer>> values_;
};

// The weights of one graph, by TensorId, with the quantizers on linears' inputs, by op index. A table can be copied and
// single entries replaced: that is how a method tries a candidate.
struct WeightTable {
  std::vector<std::shared_ptr<const WeightMatrix>> matrices;  // [tensors]; null for vectors
  std::vector<std::shared_ptr<const Tensor>> vectors;         // [tensors]; f32; null for matrices
  std::map<int, ActivationSpec> activations;                  // op index -> quantizer on inputs[0]
};
Result<WeightTable> load_weights(const ModelSource& source, const Graph& graph);

class KvCache;

class Executor {
 public:
  virtual ~Executor() = default;
  // Computes `targets` (and every value they need that is not yet in `values`); values that were neither given nor
  // asked for are dropped after their last use. With a cache, attention appends k and v to layer `layer` of it.
  virtual Status evaluate(const Graph& graph, const WeightTable& weights, const Batch& batch, ValueTable& values,
                          std::span<const ValueId> targets, KvCache* cache = nullptr, int layer = 0) = 0;
};

struct ExecutorOptions {
  // Multiply weight-only panels in integers, too, their inputs quantized to int8 group by group: several times faster
  // than float, and no longer the exact product. Panels whose input is quantized to int8 anyway always are.
  bool int8_inputs = false;
  // Multiply decoded panels in float, inputs rounded to the numbers that the integer kernels take: what kernels are
  // held to.
  bool simulate = false;
};

// The executor on kernels: panels in integers, any other weight in float through decode_rows.
std::unique_ptr<Executor> make_core_executor(const ExecutorOptions& options = {});

// Ops needed for `targets` when the values in `known` are given, in order: the liveness rule both executors share.
std::vector<int> required_ops(const Graph& graph, const std::vector<bool>& known, std::span<const ValueId> targets);

}  // namespace vernier
