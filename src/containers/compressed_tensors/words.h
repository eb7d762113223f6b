// Codes in 32-bit words, as compressed-tensors stores them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace vernier::compressed_tensors {

enum class Packing {
  dense,   // one bit string; codes cross words
  padded,  // floor(32 / bits) codes a word, the rest zero
};

std::int64_t packed_words(std::int64_t count, int bits, Packing packing);

// Codes of one row of words.
void unpack_words(std::span<const std::byte> words, int bits, Packing packing, std::span<std::uint8_t> codes);

// codes [rows, groups] into words [packed_words(rows), groups]: each column is one dense bit string.
void pack_columns(std::span<const std::uint8_t> codes, std::int64_t rows, std::int64_t groups, int bits,
                  std::span<std::byte> words);
// Codes [groups] of one row of what pack_columns (or the padded form) stores.
void unpack_columns_row(std::span<const std::byte> words, std::int64_t row, int bits, Packing packing,
                        std::span<std::uint8_t> codes);

}  // namespace vernier::compressed_tensors
