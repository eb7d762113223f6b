// Byte-pair encoding (Sennrich et al. 2016) as tokenizer.json describes it.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "io/tokenizer/component.h"
#include "vernier/status.h"
#include "vernier/tokenizer.h"

namespace vernier {

struct TransparentHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
};
using TokenMap = std::unordered_map<std::string, TokenId, TransparentHash, std::equal_to<>>;

class Bpe {
 public:
  // The "model" of a tokenizer.json. Errors: another model type, options outside the supported set, a merge whose
  // parts or result are not in the vocabulary.
  static Result<Bpe> parse(const Component& model);

  // Appends the ids of one pre-tokenized word; O(n log n) in its length.
  void encode(std::string_view word, std::vector<TokenId>& out) const;

  std::optional<TokenId> id_of(std::string_view piece) const;
  const std::string* piece(TokenId id) const;  // null for an id without a piece
  TokenId id_end() const { return static_cast<TokenId>(pieces_.size()); }

 private:
  struct Merge {
    std::int32_t rank;
    TokenId id;
  };
  struct Symbol {
    TokenId id;  // -1 once merged into the symbol before it
    std::int64_t previous, next;
  };
  struct Candidate {
    std::int32_t rank;
    std::int64_t left;
    TokenId id;  // of the merged pair
    // std::*_heap keep the largest on top: the lowest rank, then the leftmost pair, goes first.
    bool operator<(const Candidate& other) const { return rank != other.rank ? rank > other.rank : left > other.left; }
  };

  Status read_vocab(const Component& model);
  Status read_merges(const Component& model);
  Status read_options(const Component& model);
  void find_word_starts();
  const Merge* merge_of(TokenId left, TokenId right) const;
  std::vector<Symbol> symbols_of(std::string_view word) const;
  void merge_word(std::string_view word, std::vector<TokenId>& out) const;

  TokenMap ids_;
  std::vector<std::string> pieces_;
  std::unordered_map<std::uint64_t, Merge> merges_;  // key: left << 32 | right
  std::array<TokenId, 256> byte_ids_;                // of "<0x00>" … "<0xFF>", -1 where absent
  std::optional<TokenId> unk_;
  bool fuse_unk_ = false, byte_fallback_ = false, ignore_merges_ = false;
  bool cut_at_metaspace_ = false;  // no token has U+2581 after another character, so no merge crosses that boundary
};

}  // namespace vernier
