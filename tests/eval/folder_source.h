#pragma once

#include <memory>
#include <string>
#include <vector>

#include "arch/architecture.h"
#include "arch/source.h"
#include "io/checkpoint.h"
#include "tensor/convert.h"

namespace vernier::testing {

// A float checkpoint as a model source, without a container.
class FolderSource final : public ModelSource {
 public:
  static Result<std::unique_ptr<FolderSource>> open(const std::string& folder) {
    auto source = std::unique_ptr<FolderSource>(new FolderSource);
    VN_ASSIGN(source->checkpoint_, Checkpoint::open(folder));
    source->path_ = folder;
    source->config_ = source->checkpoint_->config();
    VN_ASSIGN(source->graph_, build_model_graph(source->config_, folder));
    for (const Checkpoint::Entry& entry : source->checkpoint_->entries()) {
      const TensorEntry& tensor = entry.tensor;
      source->tensors_.push_back({tensor.name, tensor.shape, std::string(name(tensor.dtype)), tensor.bytes()});
    }
    return source;
  }

  const std::vector<SourceTensor>& tensors() const override { return tensors_; }
  Result<std::shared_ptr<const WeightMatrix>> matrix(const std::string& name) const override {
    VN_ASSIGN(const TensorView view, checkpoint_->view(name));
    return dense_matrix(view, nullptr);
  }
  Result<Tensor> vector(const std::string& name) const override {
    VN_ASSIGN(const TensorView view, checkpoint_->view(name));
    return to_float_tensor(view, name);
  }
  std::optional<ActivationSpec> activation(const std::string&) const override { return std::nullopt; }
  void release(const Graph& graph) const override {
    for (const TensorRef& tensor : graph.tensors) checkpoint_->release(tensor.name);
  }

 private:
  FolderSource() = default;
  std::unique_ptr<Checkpoint> checkpoint_;
  std::vector<SourceTensor> tensors_;
};

}  // namespace vernier::testing
