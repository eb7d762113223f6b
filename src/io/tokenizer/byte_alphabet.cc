#include "io/tokenizer/byte_alphabet.h"

#include <array>

#include "io/tokenizer/utf8.h"

namespace vernier {
namespace {

struct Alphabet {
  std::array<std::string, 256> of_byte;
  std::array<int, 256 + 68> to_byte;  // by code point; -1 outside the alphabet

  Alphabet() {
    to_byte.fill(-1);
    char32_t next = 0x100;
    for (int byte = 0; byte < 256; ++byte) {
      const bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
      const char32_t c = printable ? static_cast<char32_t>(byte) : next++;
      append_utf8(of_byte[byte], c);
      to_byte[c] = byte;
    }
  }
};

const Alphabet& alphabet() {
  static const Alphabet table;
  return table;
}

}  // namespace

std::string bytes_to_alphabet(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() + bytes.size() / 4);
  for (const char byte : bytes) out += alphabet().of_byte[static_cast<unsigned char>(byte)];
  return out;
}

std::optional<std::string> alphabet_to_bytes(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size(); at += utf8_length(text[at])) {
    const char32_t c = code_point(utf8_character(text, at));
    if (c >= alphabet().to_byte.size() || alphabet().to_byte[c] < 0) return std::nullopt;
    out.push_back(static_cast<char>(alphabet().to_byte[c]));
  }
  return out;
}

}  // namespace vernier
