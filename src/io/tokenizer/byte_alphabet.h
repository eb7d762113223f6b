// The byte alphabet of byte-level BPE (GPT-2): every byte has a printable character, so that a vocabulary of bytes
// can be written as text. Printable Latin-1 stands for itself; the 68 others take U+0100 and up, in order.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace vernier {

std::string bytes_to_alphabet(std::string_view bytes);
// Nothing where a character is not of the alphabet.
std::optional<std::string> alphabet_to_bytes(std::string_view text);

}  // namespace vernier
