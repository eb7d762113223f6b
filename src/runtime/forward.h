// A model that is ready to produce logits.
#pragma once

#include <memory>
#include <vector>

#include "runtime/executor.h"
#include "runtime/kv_cache.h"

namespace vernier {

// Forward passes of a whole model on one source. Weights stay mapped unless `stream` gives each block's pages back
// after use (for memory budgets below the model's size).
class Forward {
 public:
  static Result<std::unique_ptr<Forward>> open(const ModelSource& source, bool stream,
                                               const ExecutorOptions& options = {});

  const ModelGraph& graph() const { return source_.graph(); }
  // Hidden states before the head, [rows, hidden].
  Result<Buffer> hidden(const Batch& batch, KvCache* cache = nullptr);
  // Final norm and head on rows of hidden states: logits [rows, vocab].
  Result<Buffer> logits(const Buffer& hidden);

 private:
  explicit Forward(const ModelSource& source) : source_(source) {}
  Result<Buffer> run(const Graph& graph, const WeightTable& table, const Batch& batch, Buffer input, KvCache* cache,
                     int layer);
  const ModelSource& source_;
  std::unique_ptr<Executor> executor_;
  bool stream_ = false;
  std::vector<WeightTable> tables_;  // embed, blocks, head; matrices are views, vectors are resident
};

}  // namespace vernier
