#include "pipeline/block_weights.h"

#include <cmath>

#include "base/fail.h"
#include "base/threads.h"
#include "pipeline/block_forward.h"

namespace vernier {
namespace {

constexpr std::int64_t decode_rows_at_once = 64;

void decode(const WeightMatrix& matrix, Matrix<float> out) {
  parallel_ranges(matrix.rows(), decode_rows_at_once, [&](std::int64_t first, std::int64_t last) {
    matrix.decode_rows(first, last - first, out.row(first));
  });
}

}  // namespace

Result<BlockWeights> BlockWeights::load(const ModelSource& source, const Graph& block) {
  BlockWeights weights(source, block);
  VN_ASSIGN(weights.floating_, load_weights(source, block));
  // Statistics and targets are those of float activations, whatever the source does when it runs.
  weights.floating_.activations.clear();
  return weights;
}

Result<Tensor*> BlockWeights::master(TensorId tensor) {
  std::shared_ptr<Tensor>& master = masters_[tensor];
  if (master) return master.get();
  const TensorRef& ref = block_->tensors[tensor];
  if (const auto& matrix = floating_.matrices[tensor]) {
    master = std::make_shared<Tensor>(DType::f32, Shape{matrix->rows(), matrix->cols()});
    decode(*matrix, master->matrix());
  } else {
    VN_ASSIGN(Tensor vector, source_->vector(ref.name));
    master = std::make_shared<Tensor>(std::move(vector));
  }
  return master.get();
}

void BlockWeights::install_master(TensorId tensor) {
  changed_.insert(tensor);
  const std::shared_ptr<Tensor>& master = masters_.at(tensor);
  if (floating_.matrices[tensor]) {
    floating_.matrices[tensor] = dense_matrix(master->view(), master);
  } else {
    floating_.vectors[tensor] = master;
  }
}

Result<FloatMatrix> BlockWeights::values(TensorId tensor) const {
  FloatMatrix result;
  const auto master = masters_.find(tensor);
  if (master != masters_.end()) {
    result.values = std::as_const(*master->second).matrix();
  } else {
    const WeightMatrix& matrix = *floating_.matrices[tensor];
    result.storage = Tensor(DType::f32, Shape{matrix.rows(), matrix.cols()});
    decode(matrix, result.storage.matrix());
    result.values = std::as_const(result.storage).matrix();
  }
  const std::int64_t row = first_bad_row(result.values);
  if (row < 0) return result;
  std::int64_t column = 0;
  while (std::isfinite(result.values(row, column))) ++column;
  return with_hint(fail(ErrorCode::invalid, "{}: {} has {} at row {}, column {}", source_->path(),
                        block_->tensors[tensor].name, result.values(row, column), row, column),
                   "the checkpoint is damaged: fetch it again");
}

void BlockWeights::set_quantized(TensorId tensor, std::shared_ptr<const WeightRecord> record) {
  quantized_.matrices[tensor] = record_matrix(std::move(record));
}

void BlockWeights::drop_float(TensorId tensor) {
  floating_.matrices[tensor] = nullptr;
  masters_.erase(tensor);
}

void BlockWeights::drop_quantized(TensorId tensor) { quantized_.matrices[tensor] = nullptr; }

}  // namespace vernier
