#include "runtime/kv_cache.h"

namespace vernier {

KvCache::KvCache(const ModelGraph& model, int slots, std::int64_t max_tokens)
    : capacity_(max_tokens), width_(model.kv_heads * model.head_dim), slots_(slots) {
  for (std::size_t layer = 0; layer < model.blocks.size(); ++layer) {
    keys_.push_back(std::make_unique_for_overwrite<float[]>(layer_floats()));
    values_.push_back(std::make_unique_for_overwrite<float[]>(layer_floats()));
  }
}

std::int64_t KvCache::bytes(const ModelGraph& model, int slots, std::int64_t max_tokens) {
  const auto layers = static_cast<std::int64_t>(model.blocks.size());
  return 2 * layers * slots * max_tokens * model.kv_heads * model.head_dim * static_cast<std::int64_t>(sizeof(float));
}

Matrix<float> KvCache::slot_of(const Layer& layer, int slot) const {
  return {layer.get() + slot * capacity_ * width_, capacity_, width_};
}

Matrix<float> KvCache::keys(int layer, int slot) { return slot_of(keys_[layer], slot); }
Matrix<float> KvCache::values(int layer, int slot) { return slot_of(values_[layer], slot); }

}  // namespace vernier
