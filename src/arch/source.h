// Where an executor gets weights from: a float checkpoint or any quantized container, opened by containers/open.h.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "arch/graph.h"
#include "base/json.h"
#include "formats/activation.h"
#include "vernier/format.h"

namespace vernier {

struct SourceTensor {
  std::string name;  // logical: "….q_proj.weight", whatever it is stored as
  Shape shape;
  std::string format;  // "bf16", "int4 sym g128 f16"
  std::int64_t stored_bytes = 0;
  std::optional<GridSpec> grid = {};  // of a quantized matrix
  bool column_groups = false;         // its columns are not grouped in order
  std::optional<DType> dtype = {};    // of plain numbers
};

class ModelSource {
 public:
  virtual ~ModelSource() = default;

  const std::string& path() const { return path_; }
  const std::string& container() const { return container_; }  // "safetensors", "compressed-tensors", "vernier"
  const Json& config() const { return config_; }
  const ModelGraph& graph() const { return graph_; }
  // Bits that the checkpoint asks its keys and values to be cached in; 0: it asks nothing.
  int kv_bits() const { return kv_bits_; }

  // Logical tensors, quantized ones under the name the graph uses.
  virtual const std::vector<SourceTensor>& tensors() const = 0;
  // A 2-D weight by graph tensor name. Cheap: nothing is expanded.
  virtual Result<std::shared_ptr<const WeightMatrix>> matrix(const std::string& name) const = 0;
  // Codes and parameters of a quantized matrix. Errors where they are stored in a form that is only multiplied with.
  virtual Result<GridPart> part(const std::string& name) const;
  // A small tensor (norm, bias) as f32.
  virtual Result<Tensor> vector(const std::string& name) const = 0;
  // The quantizer on the input of the linear whose weight is `weight_name`.
  virtual std::optional<ActivationSpec> activation(const std::string& weight_name) const = 0;
  // Gives back the mapped pages of these tensors.
  virtual void release(const Graph& graph) const = 0;

 protected:
  std::string path_, container_;
  Json config_;
  ModelGraph graph_;
  int kv_bits_ = 0;
};

}  // namespace vernier
