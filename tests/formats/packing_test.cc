#include "formats/packing.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "base/random.h"

namespace vernier {
namespace {

std::vector<std::uint8_t> random_codes(std::int64_t count, int bits, std::uint64_t seed) {
  const Random random(seed);
  std::vector<std::uint8_t> codes(count);
  for (std::int64_t i = 0; i < count; ++i) codes[i] = static_cast<std::uint8_t>(random.below(i, 1u << bits));
  return codes;
}

TEST(Packing, RoundTripsEveryWidthLengthAndOffset) {
  for (int bits = 1; bits <= 8; ++bits)
    for (std::int64_t count : {1, 2, 7, 8, 9, 15, 31, 32, 33, 100, 1001}) {
      const auto codes = random_codes(count, bits, 17 * bits + count);
      std::vector<std::byte> packed(packed_bytes(count, bits), std::byte{0xFF});
      pack_bits(codes, bits, packed);
      for (std::int64_t first : {0, 1, 3, 8, 13}) {
        if (first >= count) continue;
        std::vector<std::uint8_t> back(count - first, 0xFF);
        unpack_bits(packed, bits, first, back);
        EXPECT_TRUE(std::equal(back.begin(), back.end(), codes.begin() + first))
            << bits << " " << count << " " << first;
      }
    }
}

TEST(Packing, PutsTheFirstCodeIntoTheLowestBits) {
  const std::vector<std::uint8_t> codes{1, 2, 7, 0, 5};
  std::vector<std::byte> packed(2);
  pack_bits(codes, 3, packed);  // 1 | 2 << 3 | 7 << 6 | 0 << 9 | 5 << 12
  EXPECT_EQ(std::to_integer<int>(packed[0]), 0xD1);
  EXPECT_EQ(std::to_integer<int>(packed[1]), 0x51);
}

TEST(Packing, WordRowsHaveTheSameBytesAndZeroPadding) {
  const std::int64_t rows = 3, cols = 37;
  for (int bits = 1; bits <= 8; ++bits) {
    const auto codes = random_codes(rows * cols, bits, bits);
    const std::int64_t narrow = packed_bytes(cols, bits), wide = packed_bytes(cols, bits, 4);
    EXPECT_EQ(wide % 4, 0);
    EXPECT_LT(wide - narrow, 4);
    std::vector<std::byte> a(rows * narrow), b(rows * wide, std::byte{0xFF});
    pack_rows(codes, cols, bits, narrow, a);
    pack_rows(codes, cols, bits, wide, b);
    for (std::int64_t r = 0; r < rows; ++r)
      for (std::int64_t i = 0; i < wide; ++i) EXPECT_EQ(b[r * wide + i], i < narrow ? a[r * narrow + i] : std::byte{0});
    std::vector<std::uint8_t> back(codes.size());
    unpack_rows(b, cols, bits, wide, back);
    EXPECT_EQ(back, codes);
  }
}

}  // namespace
}  // namespace vernier
