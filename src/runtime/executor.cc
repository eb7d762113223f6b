#include "runtime/executor.h"

#include <numeric>
#include <utility>

#include "base/fail.h"
#include "tensor/finite.h"

namespace vernier {

std::int64_t Batch::rows() const { return std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0}); }

Batch Batch::uniform(std::int64_t sequences, std::int64_t length) {
  Batch batch;
  batch.lengths.assign(sequences, length);
  batch.starts.assign(sequences, 0);
  return batch;
}

Buffer ValueTable::take(ValueId v) {
  Buffer buffer = std::move(*values_[v]);
  values_[v].reset();
  return buffer;
}

std::vector<int> required_ops(const Graph& graph, const std::vector<bool>& known, std::span<const ValueId> targets) {
  std::vector<bool> wanted(graph.values.size(), false);
  for (ValueId target : targets) wanted[target] = true;
  std::vector<int> ops;
  for (int i = static_cast<int>(graph.ops.size()) - 1; i >= 0; --i) {  // single assignment: uses come after definitions
    const Op& op = graph.ops[i];
    if (!wanted[op.output] || known[op.output]) continue;
    ops.push_back(i);
    for (ValueId input : op.inputs) wanted[input] = true;
  }
  return {ops.rbegin(), ops.rend()};
}

namespace {
// Matrices are checked by those who read all of them.
Status check_finite(const ModelSource& source, const std::string& tensor, std::span<const float> values) {
  const std::int64_t bad = first_not_finite(values);
  if (bad < 0) return {};
  return with_hint(fail(ErrorCode::invalid, "{}: {} has {} at row {}", source.path(), tensor, values[bad], bad),
                   "the checkpoint is damaged: fetch it again");
}
}  // namespace

Result<WeightTable> load_weights(const ModelSource& source, const Graph& graph) {
  WeightTable table;
  table.matrices.resize(graph.tensors.size());
  table.vectors.resize(graph.tensors.size());
  for (std::size_t i = 0; i < graph.tensors.size(); ++i) {
    const TensorRef& ref = graph.tensors[i];
    Shape found;
    if (ref.shape.rank() == 2) {
      VN_ASSIGN(table.matrices[i], source.matrix(ref.name));
      found = {table.matrices[i]->rows(), table.matrices[i]->cols()};
    } else {
      VN_ASSIGN(Tensor vector, source.vector(ref.name));
      found = vector.shape();
      VN_TRY(check_finite(source, ref.name, vector.as<float>()));
      table.vectors[i] = std::make_shared<const Tensor>(std::move(vector));
    }
    if (!(found == ref.shape)) {
      return with_hint(fail(ErrorCode::mismatch, "{}: tensor {}: the config wants shape {}, found {}", source.path(),
                            ref.name, ref.shape.text(), found.text()),
                       "check that config.json belongs to these weights");
    }
  }
  for (std::size_t i = 0; i < graph.ops.size(); ++i) {
    const Op& op = graph.ops[i];
    if (op.kind != OpKind::linear) continue;
    if (const auto spec = source.activation(graph.tensors[op.weight].name))
      table.activations.emplace(static_cast<int>(i), *spec);
  }
  return table;
}

}  // namespace vernier
