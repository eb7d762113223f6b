// The weights of one block while it is quantized: float (as stored, or as transforms left them) and quantized.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <vector>

#include "arch/source.h"
#include "runtime/executor.h"

namespace vernier {

// A float copy of a matrix, or a view of a master.
struct FloatMatrix {
  Tensor storage;  // empty for a view
  Matrix<const float> values;
};

class BlockWeights {
 public:
  static Result<BlockWeights> load(const ModelSource& source, const Graph& block);

  // Transforms: f32 copies that are written to, then installed.
  Result<Tensor*> master(TensorId tensor);
  void install_master(TensorId tensor);
  const std::set<TensorId>& changed() const { return changed_; }
  const WeightTable& floating() const { return floating_; }

  // A matrix in f32 with finite values; its error names tensor, row and column.
  Result<FloatMatrix> values(TensorId tensor) const;

  // After the transforms: the quantized table starts as a copy of the float one.
  void begin_quantized() { quantized_ = floating_; }
  const WeightTable& quantized() const { return quantized_; }
  void set_quantized(TensorId tensor, std::shared_ptr<const WeightRecord> record);
  void drop_float(TensorId tensor);      // its float values are not needed any more
  void drop_quantized(TensorId tensor);  // nor the quantized ones
  void release_pages() const { source_->release(*block_); }

 private:
  BlockWeights(const ModelSource& source, const Graph& block) : source_(&source), block_(&block) {}

  const ModelSource* source_;
  const Graph* block_;
  WeightTable floating_, quantized_;
  std::map<TensorId, std::shared_ptr<Tensor>> masters_;
  std::set<TensorId> changed_;
};

}  // namespace vernier
