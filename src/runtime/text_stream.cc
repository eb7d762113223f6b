#include "runtime/text_stream.h"

#include <algorithm>
#include <utility>

namespace vernier {
namespace {

constexpr std::size_t kContextTokens = 16;  // of the prompt: enough for any decoder to know what came before

// Bytes at the end of `text` that are the beginning of `stop`.
std::size_t overlap(std::string_view text, std::string_view stop) {
  for (std::size_t n = std::min(text.size(), stop.size() - 1); n > 0; --n) {
    if (text.ends_with(stop.substr(0, n))) return n;
  }
  return 0;
}

}  // namespace

TextStream::TextStream(const Tokenizer& tokenizer, std::span<const TokenId> prompt,
                       std::vector<std::string> stop_strings)
    : decoder_(tokenizer), stop_strings_(std::move(stop_strings)) {
  for (const TokenId id : prompt.last(std::min(prompt.size(), kContextTokens))) decoder_.push(id);
}

std::string TextStream::push(TokenId id) { return stopped_ ? std::string() : release(decoder_.push(id)); }

std::string TextStream::finish() {
  if (stopped_) return {};
  std::string text = release(decoder_.finish());
  if (!stopped_) text += std::exchange(held_, {});
  return text;
}

std::string TextStream::release(std::string text) {
  held_ += text;
  std::size_t end = std::string::npos;
  for (const std::string& stop : stop_strings_) end = std::min(end, held_.find(stop));
  if (end != std::string::npos) {
    stopped_ = true;
    return std::exchange(held_, {}).substr(0, end);
  }
  std::size_t kept = 0;
  for (const std::string& stop : stop_strings_) kept = std::max(kept, overlap(held_, stop));
  std::string out = held_.substr(0, held_.size() - kept);
  held_.erase(0, out.size());
  return out;
}

}  // namespace vernier
