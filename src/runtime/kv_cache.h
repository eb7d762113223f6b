// Keys and values of earlier positions, fp32, per layer and slot. Paged and quantized caches come with the runtime
// issue behind the same interface.
#pragma once

#include <cstdint>
#include <vector>

#include "arch/graph.h"
#include "vernier/tensor.h"

namespace vernier {

class KvCache {
 public:
  KvCache(const ModelGraph& model, int slots, std::int64_t max_tokens);

  std::int64_t capacity() const { return capacity_; }
  std::int64_t bytes() const;
  // Rows [0, length) of k or v of one layer and slot, [max_tokens, kv_heads * head_dim].
  Matrix<float> keys(int layer, int slot);
  Matrix<float> values(int layer, int slot);

 private:
  std::int64_t capacity_, width_;
  int slots_;
  std::vector<std::vector<float>> keys_, values_;  // [layers][slots * capacity * width]
};

}  // namespace vernier
