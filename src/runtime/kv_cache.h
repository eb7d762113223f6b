// Keys and values of earlier positions, for several sequences: a bounded pool of pages, and per slot a table of the
// pages it holds. A page of the table is kPageTokens tokens in every layer.
#pragma once

#include <cstdint>
#include <memory>
#include <new>
#include <vector>

#include "arch/source.h"
#include "kernels/kv/page.h"
#include "vernier/status.h"

namespace vernier {

using kernels::KvType;

// What a cache for this model holds unless the user says: f16, or integers of the bits that its checkpoint asks for.
KvType kv_type_for(const ModelSource& source);

class KvCache {
 public:
  // Slots of up to max_tokens positions. pool_tokens bounds what all slots hold together; 0: all of them full. Memory
  // is reserved, and taken as pages are first written.
  KvCache(const ModelGraph& model, int slots, std::int64_t max_tokens, KvType type = KvType::f32,
          std::int64_t pool_tokens = 0);

  KvType type() const { return layout_.type(); }
  std::int64_t capacity() const { return capacity_; }  // positions of a slot
  int slots() const { return static_cast<int>(tables_.size()); }
  int layers() const { return static_cast<int>(pools_.size()); }
  std::int64_t bytes() const { return layers() * pool_pages_ * layout_.page_bytes(); }
  std::int64_t pages() const { return pool_pages_; }
  std::int64_t free_pages() const { return static_cast<std::int64_t>(free_.size()); }

  // bytes() of a cache that is still to be made, and what a token takes in all layers.
  static std::int64_t bytes(const ModelGraph& model, int slots, std::int64_t max_tokens, KvType type = KvType::f32);
  static double bytes_per_token(const ModelGraph& model, KvType type);
  static std::int64_t pages_for(std::int64_t tokens) {
    return (tokens + kernels::kPageTokens - 1) / kernels::kPageTokens;
  }

  // Takes pages for positions [0, tokens) of a slot. over_budget when the pool has too few; the slot is unchanged then.
  Status reserve(int slot, std::int64_t tokens);
  void reset(int slot);  // gives the slot's pages back
  kernels::KvPages view(int layer, int slot) const;

 private:
  struct Free {
    void operator()(std::byte* p) const { operator delete[](p, std::align_val_t{64}); }
  };
  using Pool = std::unique_ptr<std::byte[], Free>;

  kernels::KvLayout layout_;
  std::int64_t capacity_, pool_pages_;
  std::vector<Pool> pools_;                        // [layers][pool_pages * page_bytes], uninitialised
  std::vector<std::vector<std::int32_t>> tables_;  // [slots]
  std::vector<std::int32_t> free_;                 // pages that no slot holds, the next one last
};

}  // namespace vernier
