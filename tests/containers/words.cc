#include "containers/compressed_tensors/words.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

namespace vernier::compressed_tensors {
namespace {

std::vector<std::byte> bytes_of(const std::vector<std::uint32_t>& words) {
  std::vector<std::byte> bytes(words.size() * 4);
  std::memcpy(bytes.data(), words.data(), bytes.size());
  return bytes;
}

// 32 codes (5 i + 2) mod 8 as a 96-bit string: the handbook's vector for dense 3-bit packing.
TEST(Words, DenseThreeBits) {
  std::vector<std::uint8_t> wanted(32), codes(32);
  for (int i = 0; i < 32; ++i) wanted[i] = static_cast<std::uint8_t>((5 * i + 2) % 8);
  unpack_words(bytes_of({0x3AA1E33A, 0xE33AA1E3, 0xA1E33AA1}), 3, Packing::dense, codes);
  EXPECT_EQ(codes, wanted);
}

TEST(Words, PaddedLeavesTheTopBits) {
  EXPECT_EQ(packed_words(32, 3, Packing::dense), 3);
  EXPECT_EQ(packed_words(32, 3, Packing::padded), 4);
  // Ten codes a word; code i of the row is i mod 8.
  std::vector<std::uint32_t> words(2);
  std::vector<std::uint8_t> wanted(13), codes(13);
  for (int i = 0; i < 13; ++i) {
    wanted[i] = i % 8;
    words[i / 10] |= static_cast<std::uint32_t>(i % 8) << (i % 10 * 3);
  }
  words[0] |= 0xC0000000;  // bits of no code
  unpack_words(bytes_of(words), 3, Packing::padded, codes);
  EXPECT_EQ(codes, wanted);
}

TEST(Words, ColumnsComeBack) {
  for (int bits = 1; bits <= 8; ++bits) {
    const std::int64_t rows = 45, groups = 3;
    std::vector<std::uint8_t> codes(rows * groups);
    for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<std::uint8_t>((i * 37 + 11) % (1u << bits));
    std::vector<std::byte> words(packed_words(rows, bits, Packing::dense) * groups * 4);
    pack_columns(codes, rows, groups, bits, words);
    for (std::int64_t r = 0; r < rows; ++r) {
      std::vector<std::uint8_t> row(groups);
      unpack_columns_row(words, r, bits, Packing::dense, row);
      for (std::int64_t g = 0; g < groups; ++g) ASSERT_EQ(row[g], codes[r * groups + g]) << bits << " " << r;
    }
  }
}

}  // namespace
}  // namespace vernier::compressed_tensors
