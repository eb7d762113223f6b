#include "runtime/kv_cache.h"

#include "base/fail.h"

namespace vernier {
namespace {

kernels::KvLayout layout_of(const ModelGraph& model, KvType type) { return {type, model.kv_heads, model.head_dim}; }

}  // namespace

KvType kv_type_for(const ModelSource& source) {
  const int bits = source.kv_bits();
  return bits == 0 || bits > 8 ? KvType::f16 : bits > 4 ? KvType::int8 : KvType::int4;
}

KvCache::KvCache(const ModelGraph& model, int slots, std::int64_t max_tokens, KvType type, std::int64_t pool_tokens)
    : layout_(layout_of(model, type)),
      capacity_(max_tokens),
      pool_pages_(pool_tokens > 0 ? pages_for(pool_tokens) : slots * pages_for(max_tokens)),
      tables_(slots) {
  for (std::size_t layer = 0; layer < model.blocks.size(); ++layer)
    pools_.emplace_back(new (std::align_val_t{64}) std::byte[pool_pages_ * layout_.page_bytes()]);
  for (std::int64_t page = pool_pages_ - 1; page >= 0; --page) free_.push_back(static_cast<std::int32_t>(page));
}

std::int64_t KvCache::bytes(const ModelGraph& model, int slots, std::int64_t max_tokens, KvType type) {
  const auto layers = static_cast<std::int64_t>(model.blocks.size());
  return layers * slots * pages_for(max_tokens) * layout_of(model, type).page_bytes();
}

double KvCache::bytes_per_token(const ModelGraph& model, KvType type) {
  return static_cast<double>(model.blocks.size()) * layout_of(model, type).bytes_per_token();
}

Status KvCache::reserve(int slot, std::int64_t tokens) {
  std::vector<std::int32_t>& table = tables_[slot];
  const std::int64_t missing = pages_for(tokens) - static_cast<std::int64_t>(table.size());
  if (missing > free_pages()) {
    return with_hint(fail(ErrorCode::over_budget, "{} tokens need {} more pages of the KV cache, {} of {} are free",
                          tokens, missing, free_pages(), pool_pages_),
                     "run fewer sequences at once, or shorter ones");
  }
  for (std::int64_t i = 0; i < missing; ++i) {
    table.push_back(free_.back());
    free_.pop_back();
  }
  return {};
}

void KvCache::reset(int slot) {
  std::vector<std::int32_t>& table = tables_[slot];
  free_.insert(free_.end(), table.rbegin(), table.rend());
  table.clear();
}

kernels::KvPages KvCache::view(int layer, int slot) const { return {layout_, pools_[layer].get(), tables_[slot]}; }

}  // namespace vernier
