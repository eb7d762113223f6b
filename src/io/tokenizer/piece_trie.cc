#include "io/tokenizer/piece_trie.h"

namespace vernier {
namespace {

std::uint64_t edge(std::uint32_t node, char byte) {
  return static_cast<std::uint64_t>(node) << 8 | static_cast<unsigned char>(byte);
}

}  // namespace

void PieceTrie::add(std::string_view text, std::int32_t value) {
  std::uint32_t node = 0;
  for (const char byte : text) {
    const auto [it, fresh] = children_.emplace(edge(node, byte), static_cast<std::uint32_t>(values_.size()));
    if (fresh) values_.push_back(-1);
    node = it->second;
  }
  if (node != 0) values_[node] = value;
}

std::int32_t PieceTrie::longest(std::string_view text, std::size_t at, std::size_t& length) const {
  std::int32_t found = -1;
  std::uint32_t node = 0;
  for (std::size_t i = at; i < text.size(); ++i) {
    const auto it = children_.find(edge(node, text[i]));
    if (it == children_.end()) break;
    node = it->second;
    if (values_[node] >= 0) {
      found = values_[node];
      length = i + 1 - at;
    }
  }
  return found;
}

}  // namespace vernier
