// Dense bit packing: code i of a row takes bits [i * bits, (i + 1) * bits) of the row's little-endian bit string, so
// codes may straddle bytes and words. A row is padded with zero bits to whole bytes, or to whole 32-bit words where a
// container stores I32 (the bytes are the same, only the row stride differs).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace vernier {

// Bytes of one packed row of `count` codes of `bits` (1..8) bits, rounded up to multiples of `word_bytes`.
constexpr std::int64_t packed_bytes(std::int64_t count, int bits, std::int64_t word_bytes = 1) {
  return (count * bits + 8 * word_bytes - 1) / (8 * word_bytes) * word_bytes;
}

// One row. `packed` has at least packed_bytes(codes.size(), bits) bytes; what lies behind the last code becomes zero.
// Bits of a code above `bits` are ignored.
void pack_bits(std::span<const std::uint8_t> codes, int bits, std::span<std::byte> packed);

// codes.size() codes starting with code `first` of the row. Reads only the bytes those codes occupy.
void unpack_bits(std::span<const std::byte> packed, int bits, std::int64_t first, std::span<std::uint8_t> codes);

// Rows of `cols` codes each, to or from rows of `stride_bytes` each.
void pack_rows(std::span<const std::uint8_t> codes, std::int64_t cols, int bits, std::int64_t stride_bytes,
               std::span<std::byte> packed);
void unpack_rows(std::span<const std::byte> packed, std::int64_t cols, int bits, std::int64_t stride_bytes,
                 std::span<std::uint8_t> codes);

}  // namespace vernier
