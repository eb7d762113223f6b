// Added tokens of tokenizer.json: pieces found in the text before anything else is done to it.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "io/tokenizer/bpe.h"
#include "io/tokenizer/normalizer.h"
#include "io/tokenizer/piece_trie.h"

namespace vernier {

// A part of a text: an added token, or (id < 0) text between them.
struct Fragment {
  std::string_view text;
  TokenId id = -1;
};

class AddedTokens {
 public:
  // "added_tokens" of the file; `id_end` bounds the ids. Tokens marked normalized match normalized text.
  static Result<AddedTokens> parse(const JsonTree& list, const std::string& where, std::int64_t id_end,
                                   const std::vector<std::unique_ptr<Normalizer>>& normalizers);

  // Cuts `text` at the longest of the leftmost tokens. Without `parse_special`, special tokens are ordinary text.
  std::vector<Fragment> split_raw(std::string_view text, bool parse_special) const;
  std::vector<Fragment> split_normalized(std::string_view text, bool parse_special) const;

  std::optional<TokenId> id_of(std::string_view content) const;
  // Null where `id` was not added. The piece is the content as it stands in normalized text, if that is matched.
  const std::string* content(TokenId id) const;
  const std::string* piece(TokenId id) const;
  bool is_special(TokenId id) const { return special_.contains(id); }
  TokenId id_end() const { return id_end_; }

 private:
  struct Token {
    std::string content;
    std::string piece;  // what decoders see: the normalized content of tokens that match normalized text
    TokenId id = -1;
    bool single_word = false, lstrip = false, rstrip = false, special = false;
  };
  std::vector<Fragment> split(std::string_view text, const PieceTrie& trie, bool parse_special) const;

  std::vector<Token> tokens_;
  TokenMap ids_;
  std::unordered_map<TokenId, std::int32_t> by_id_;
  std::unordered_set<TokenId> special_;
  PieceTrie raw_, normalized_;
  TokenId id_end_ = 0;
};

}  // namespace vernier
