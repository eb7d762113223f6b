// Keys and values of earlier positions, fp32, per layer and slot. Paged and quantized caches come with the runtime
// issue behind the same interface.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "arch/graph.h"
#include "vernier/tensor.h"

namespace vernier {

class KvCache {
 public:
  KvCache(const ModelGraph& model, int slots, std::int64_t max_tokens);

  std::int64_t capacity() const { return capacity_; }
  int slots() const { return slots_; }
  int layers() const { return static_cast<int>(keys_.size()); }
  std::int64_t bytes() const { return 2 * layers() * layer_floats() * static_cast<std::int64_t>(sizeof(float)); }
  // bytes() of a cache that is still to be made.
  static std::int64_t bytes(const ModelGraph& model, int slots, std::int64_t max_tokens);
  // Rows [0, length) of k or v of one layer and slot, [max_tokens, kv_heads * head_dim].
  Matrix<float> keys(int layer, int slot);
  Matrix<float> values(int layer, int slot);

 private:
  // Uninitialised, so that rows which are never written take no memory.
  using Layer = std::unique_ptr<float[]>;

  std::int64_t layer_floats() const { return slots_ * capacity_ * width_; }
  Matrix<float> slot_of(const Layer& layer, int slot) const;

  std::int64_t capacity_, width_;
  int slots_;
  std::vector<Layer> keys_, values_;  // [layers][slots * capacity * width]
};

}  // namespace vernier
