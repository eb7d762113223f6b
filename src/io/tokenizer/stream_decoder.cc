#include "io/tokenizer/utf8.h"
#include "vernier/tokenizer.h"

namespace vernier {
namespace {

// Decoding starts over from a short tail once this many tokens are held, so that a long stream costs linear time.
constexpr std::size_t max_held = 64;
constexpr std::size_t kept_tail = 16;

// Bytes of `text` that further tokens cannot change: an incomplete character shows as at most three U+FFFD at the end.
std::size_t final_bytes(std::string_view text) {
  for (int i = 0; i < 3 && text.ends_with(replacement_character); ++i) text.remove_suffix(replacement_character.size());
  return text.size();
}

}  // namespace

std::string StreamDecoder::push(TokenId id) {
  ids_.push_back(id);
  const std::string text = tokenizer_.decode(ids_);
  const std::size_t end = final_bytes(text);
  std::string out;
  if (end > emitted_) {
    out = text.substr(emitted_, end - emitted_);
    emitted_ = end;
  }
  if (ids_.size() >= max_held) {
    const std::vector<TokenId> tail(ids_.end() - kept_tail, ids_.end());
    // An empty tail would lose that text came before it, and with it the space in front of the next word.
    if (const std::string tail_text = tokenizer_.decode(tail); !tail_text.empty()) {
      ids_ = tail;
      emitted_ = final_bytes(tail_text);
    }
  }
  return out;
}

std::string StreamDecoder::finish() {
  const std::string text = tokenizer_.decode(ids_);
  std::string out = emitted_ < text.size() ? text.substr(emitted_) : std::string();
  ids_.clear();
  emitted_ = 0;
  return out;
}

}  // namespace vernier
