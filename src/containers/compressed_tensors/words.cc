#include "containers/compressed_tensors/words.h"

#include <cstring>
#include <vector>

#include "formats/packing.h"

namespace vernier::compressed_tensors {
namespace {

constexpr std::int64_t kWordBytes = 4;

std::uint64_t word_at(std::span<const std::byte> words, std::int64_t index) {
  std::uint32_t word;
  std::memcpy(&word, words.data() + index * kWordBytes, kWordBytes);
  return word;
}

}  // namespace

std::int64_t packed_words(std::int64_t count, int bits, Packing packing) {
  if (packing == Packing::dense) return packed_bytes(count, bits, kWordBytes) / kWordBytes;
  const std::int64_t per_word = 32 / bits;
  return (count + per_word - 1) / per_word;
}

void unpack_words(std::span<const std::byte> words, int bits, Packing packing, std::span<std::uint8_t> codes) {
  if (packing == Packing::dense) return unpack_bits(words, bits, 0, codes);
  const std::size_t per_word = 32 / bits;
  const std::uint64_t mask = (1u << bits) - 1;
  for (std::size_t i = 0; i < codes.size(); ++i)
    codes[i] = static_cast<std::uint8_t>(word_at(words, i / per_word) >> (i % per_word * bits) & mask);
}

void pack_columns(std::span<const std::uint8_t> codes, std::int64_t rows, std::int64_t groups, int bits,
                  std::span<std::byte> words) {
  const std::int64_t height = packed_words(rows, bits, Packing::dense);
  std::vector<std::uint8_t> column(rows);
  std::vector<std::byte> packed(height * kWordBytes);
  for (std::int64_t g = 0; g < groups; ++g) {
    for (std::int64_t r = 0; r < rows; ++r) column[r] = codes[r * groups + g];
    pack_bits(column, bits, packed);
    for (std::int64_t w = 0; w < height; ++w)
      std::memcpy(words.data() + (w * groups + g) * kWordBytes, packed.data() + w * kWordBytes, kWordBytes);
  }
}

void unpack_columns_row(std::span<const std::byte> words, std::int64_t row, int bits, Packing packing,
                        std::span<std::uint8_t> codes) {
  const auto groups = static_cast<std::int64_t>(codes.size());
  const std::int64_t per_word = 32 / bits;
  const std::int64_t first = packing == Packing::dense ? row * bits : row / per_word * 32 + row % per_word * bits;
  const std::int64_t word = first / 32, shift = first % 32;
  const std::uint64_t mask = (1u << bits) - 1;
  for (std::int64_t g = 0; g < groups; ++g) {
    std::uint64_t string = word_at(words, word * groups + g);
    if (shift + bits > 32) string |= word_at(words, (word + 1) * groups + g) << 32;
    codes[g] = static_cast<std::uint8_t>(string >> shift & mask);
  }
}

}  // namespace vernier::compressed_tensors
