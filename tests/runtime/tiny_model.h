// A model of a few thousand random weights, in memory, of any registered architecture.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "arch/source.h"

namespace vernier::testing {

class TinyModel final : public ModelSource {
 public:
  explicit TinyModel(const Json& config);  // must be a valid config.json

  const std::vector<SourceTensor>& tensors() const override { return tensors_; }
  Result<std::shared_ptr<const WeightMatrix>> matrix(const std::string& name) const override;
  Result<Tensor> vector(const std::string& name) const override;
  std::optional<ActivationSpec> activation(const std::string& weight_name) const override;
  void release(const Graph& graph) const override { released.push_back(graph.name); }

  std::map<std::string, ActivationSpec> activations;  // by weight name
  std::map<std::string, Shape> shapes;                // what the tensors have, as the graphs want them at first
  mutable std::vector<std::string> released;          // graphs, in order

 private:
  Tensor random_tensor(const std::string& name) const;
  std::vector<SourceTensor> tensors_;
};

Json llama_config();                   // 2 layers, grouped heads
Json mistral_config();                 // a window of 5
Json mixtral_config(int experts = 4);  // 2 experts a token

}  // namespace vernier::testing
