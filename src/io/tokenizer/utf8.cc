#include "io/tokenizer/utf8.h"

namespace vernier {

std::size_t leading_space_bytes(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size() && is_space(code_point(utf8_character(text, at)))) at += utf8_length(text[at]);
  return at;
}

std::size_t without_trailing_space_bytes(std::string_view text) {
  std::size_t end = text.size();
  while (end > 0) {
    std::size_t start = end - 1;
    while (start > 0 && (static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) --start;
    if (!is_space(code_point(text.substr(start, end - start)))) break;
    end = start;
  }
  return end;
}

bool spaces_lead(std::string_view piece) {
  while (piece.starts_with(metaspace)) piece.remove_prefix(metaspace.size());
  return piece.find(metaspace) == std::string_view::npos;
}

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  out.reserve(text.size());
  for (;;) {
    const std::size_t at = text.find(from);
    out += text.substr(0, at);
    if (at == std::string_view::npos) return out;
    out += to;
    text.remove_prefix(at + from.size());
  }
}

}  // namespace vernier
