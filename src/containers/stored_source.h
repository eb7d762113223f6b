// The one ModelSource of this layer: logical tensors, each stored as one or more tensors of a mapped checkpoint. A
// container's reader only fills the table.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "arch/source.h"
#include "io/checkpoint.h"

namespace vernier {

struct LogicalTensor {
  SourceTensor info;
  std::vector<std::string> stored;  // tensors of the checkpoint that hold it
  // Makes the matrix on first use; empty for plain floats, which are stored in one tensor. Of a vector: with as many
  // values as it.
  std::function<Result<std::shared_ptr<const WeightMatrix>>(const Checkpoint&)> open;
  std::function<Result<GridPart>(const Checkpoint&)> part;  // empty where codes cannot be read back
  std::optional<ActivationSpec> activation;
};

// The stored tensor `entry` as a plain logical tensor called `name`.
LogicalTensor plain_tensor(const TensorEntry& entry, std::string name);

// plain_tensor() for every entry of the checkpoint that no quantized weight claimed, appended to `tensors`.
void append_plain_tensors(const Checkpoint& checkpoint, const std::unordered_set<std::string>& claimed,
                          std::vector<LogicalTensor>& tensors);

class StoredSource final : public ModelSource {
 public:
  // Checks `tensors` against the graph of the checkpoint's config. Errors: a tensor that is missing (with the nearest
  // name there is), or whose shape or element type the graph does not allow. Tensors that the graph does not read stay
  // listed and are warned about.
  static Result<std::unique_ptr<ModelSource>> make(std::unique_ptr<Checkpoint> checkpoint, ModelGraph graph,
                                                   std::string container, std::vector<LogicalTensor> tensors,
                                                   int kv_bits = 0);

  const std::vector<SourceTensor>& tensors() const override { return infos_; }
  Result<std::shared_ptr<const WeightMatrix>> matrix(const std::string& name) const override;
  Result<GridPart> part(const std::string& name) const override;
  Result<Tensor> vector(const std::string& name) const override;
  std::optional<ActivationSpec> activation(const std::string& weight_name) const override;
  void release(const Graph& graph) const override;

 private:
  StoredSource() = default;
  Status check_against_graph() const;
  Result<const LogicalTensor*> find(const std::string& name) const;

  std::unique_ptr<Checkpoint> checkpoint_;
  std::vector<LogicalTensor> tensors_;
  std::vector<SourceTensor> infos_;
  std::unordered_map<std::string, std::size_t> index_;
};

// The graph of the checkpoint's config.json; errors name the file.
Result<ModelGraph> graph_of(const Checkpoint& checkpoint);

// Keeps every mapped file of the checkpoint alive: what a matrix on mapped bytes holds.
std::shared_ptr<const void> mapping_of(const Checkpoint& checkpoint, const std::string& tensor);

}  // namespace vernier
