#include "io/tokenizer/added_tokens.h"

#include <utf8proc.h>

#include <algorithm>

#include "io/tokenizer/utf8.h"

namespace vernier {
namespace {

// Unicode's \w, by general category, and the joiners.
bool is_word(std::string_view character) {
  const char32_t c = code_point(character);
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:
      return c == 0x200C || c == 0x200D;
  }
}

bool ends_with_word(std::string_view text) {
  if (text.empty()) return false;
  std::size_t start = text.size() - 1;
  while (start > 0 && (static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) --start;
  return is_word(text.substr(start));
}

bool starts_with_word(std::string_view text) { return !text.empty() && is_word(utf8_character(text, 0)); }

}  // namespace

Result<AddedTokens> AddedTokens::parse(const JsonTree& list, const std::string& where, std::int64_t id_end,
                                       const std::vector<std::unique_ptr<Normalizer>>& normalizers) {
  AddedTokens added;
  if (list.is_null()) return added;
  if (!list.is_array()) return fail(ErrorCode::invalid, "{}: expected a list, found {}", where, list.type_name());
  id_end += static_cast<std::int64_t>(list.size());
  for (std::size_t i = 0; i < list.size(); ++i) {
    const Component json(list[i], fmt::format("{}[{}]", where, i));
    Token token;
    VN_ASSIGN(token.content, json.text("content"));
    VN_ASSIGN(const std::int64_t id, json.integer("id"));
    if (id < 0 || id >= id_end) return json.wrong("id", fmt::format("from 0 to {}", id_end - 1));
    token.id = static_cast<TokenId>(id);
    VN_ASSIGN(token.special, json.flag("special", false));
    VN_ASSIGN(token.single_word, json.flag("single_word", false));
    VN_ASSIGN(token.lstrip, json.flag("lstrip", false));
    VN_ASSIGN(token.rstrip, json.flag("rstrip", false));
    VN_ASSIGN(const bool normalized, json.flag("normalized", !token.special));
    if (token.content.empty()) continue;

    const auto index = static_cast<std::int32_t>(added.tokens_.size());
    token.piece = normalized ? normalize(normalizers, token.content) : token.content;
    (normalized ? added.normalized_ : added.raw_).add(token.piece, index);
    added.ids_.emplace(token.content, token.id);
    added.by_id_[token.id] = index;
    if (token.special) added.special_.insert(token.id);
    added.id_end_ = std::max(added.id_end_, token.id + 1);
    added.tokens_.push_back(std::move(token));
  }
  return added;
}

std::vector<Fragment> AddedTokens::split_raw(std::string_view text, bool parse_special) const {
  return split(text, raw_, parse_special);
}

std::vector<Fragment> AddedTokens::split_normalized(std::string_view text, bool parse_special) const {
  return split(text, normalized_, parse_special);
}

std::vector<Fragment> AddedTokens::split(std::string_view text, const PieceTrie& trie, bool parse_special) const {
  std::vector<Fragment> out;
  std::size_t done = 0;
  for (std::size_t at = 0; at < text.size();) {
    std::size_t length = 0;
    const std::int32_t index = trie.longest(text, at, length);
    if (index < 0) {
      ++at;
      continue;
    }
    const Token& token = tokens_[index];
    std::size_t begin = at, end = at + length;
    at = end;  // a match that is turned down is still passed over
    if (token.special && !parse_special) continue;
    if (token.single_word && (ends_with_word(text.substr(0, begin)) || starts_with_word(text.substr(end)))) continue;
    if (token.lstrip) begin = std::max(done, without_trailing_space_bytes(text.substr(0, begin)));
    if (token.rstrip) end += leading_space_bytes(text.substr(end));
    if (begin > done) out.push_back({text.substr(done, begin - done), -1});
    out.push_back({text.substr(begin, end - begin), token.id});
    done = std::max(done, end);
    at = std::max(at, done);
  }
  if (done < text.size()) out.push_back({text.substr(done), -1});
  return out;
}

std::optional<TokenId> AddedTokens::id_of(std::string_view content) const {
  const auto it = ids_.find(content);
  if (it == ids_.end()) return std::nullopt;
  return it->second;
}

const std::string* AddedTokens::content(TokenId id) const {
  const auto it = by_id_.find(id);
  return it == by_id_.end() ? nullptr : &tokens_[it->second].content;
}

const std::string* AddedTokens::piece(TokenId id) const {
  const auto it = by_id_.find(id);
  return it == by_id_.end() ? nullptr : &tokens_[it->second].piece;
}

}  // namespace vernier
