#include "formats/packing.h"

#include <bit>
#include <cassert>
#include <cstring>

#include "formats/vectorize.h"

namespace vernier {

static_assert(std::endian::native == std::endian::little);

namespace {

// Eight codes are exactly `bits` bytes, so whole octets of codes start on byte boundaries.
template <int bits>
void pack_octets(const std::uint8_t* codes, std::int64_t octets, std::byte* packed) {
  constexpr std::uint64_t mask = (1u << bits) - 1;
  for (std::int64_t o = 0; o < octets; ++o, codes += 8, packed += bits) {
    std::uint64_t word = 0;
    for (int i = 0; i < 8; ++i) word |= (codes[i] & mask) << (i * bits);
    std::memcpy(packed, &word, bits);
  }
}

template <int bits>
void unpack_octets(const std::byte* packed, std::int64_t octets, std::uint8_t* codes) {
  constexpr std::uint64_t mask = (1u << bits) - 1;
  for (std::int64_t o = 0; o < octets; ++o, codes += 8, packed += bits) {
    std::uint64_t word = 0;
    std::memcpy(&word, packed, bits);
    for (int i = 0; i < 8; ++i) codes[i] = static_cast<std::uint8_t>((word >> (i * bits)) & mask);
  }
}

VN_VECTORIZED void unpack_nibbles(const std::byte* packed, std::int64_t pairs, std::uint8_t* codes) {
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(packed);
  for (std::int64_t i = 0; i < pairs; ++i) {
    codes[2 * i] = bytes[i] & 15;
    codes[2 * i + 1] = bytes[i] >> 4;
  }
}

using PackOctets = void (*)(const std::uint8_t*, std::int64_t, std::byte*);
using UnpackOctets = void (*)(const std::byte*, std::int64_t, std::uint8_t*);
constexpr PackOctets pack_octets_of[] = {nullptr,        pack_octets<1>, pack_octets<2>, pack_octets<3>, pack_octets<4>,
                                         pack_octets<5>, pack_octets<6>, pack_octets<7>, pack_octets<8>};
constexpr UnpackOctets unpack_octets_of[] = {nullptr,          unpack_octets<1>, unpack_octets<2>,
                                             unpack_octets<3>, unpack_octets<4>, unpack_octets<5>,
                                             unpack_octets<6>, unpack_octets<7>, unpack_octets<8>};

std::uint8_t code_at(const std::byte* packed, int bits, std::int64_t index) {
  const std::int64_t bit = index * bits;
  const int shift = static_cast<int>(bit % 8);
  unsigned word = std::to_integer<unsigned>(packed[bit / 8]);
  if (shift + bits > 8) word |= std::to_integer<unsigned>(packed[bit / 8 + 1]) << 8;
  return static_cast<std::uint8_t>((word >> shift) & ((1u << bits) - 1));
}

}  // namespace

void pack_bits(std::span<const std::uint8_t> codes, int bits, std::span<std::byte> packed) {
  const auto count = static_cast<std::int64_t>(codes.size());
  assert(bits >= 1 && bits <= 8 && static_cast<std::int64_t>(packed.size()) >= packed_bytes(count, bits));
  const std::int64_t octets = count / 8;
  pack_octets_of[bits](codes.data(), octets, packed.data());
  std::uint8_t last[8] = {};
  std::byte last_packed[8];
  const std::int64_t tail = count - 8 * octets, done = octets * bits, tail_bytes = packed_bytes(tail, bits);
  if (tail > 0) {
    std::memcpy(last, codes.data() + 8 * octets, tail);
    pack_octets_of[bits](last, 1, last_packed);
    std::memcpy(packed.data() + done, last_packed, tail_bytes);
  }
  const std::size_t written = done + tail_bytes;
  if (packed.size() > written) std::memset(packed.data() + written, 0, packed.size() - written);
}

void unpack_bits(std::span<const std::byte> packed, int bits, std::int64_t first, std::span<std::uint8_t> codes) {
  const auto count = static_cast<std::int64_t>(codes.size());
  assert(bits >= 1 && bits <= 8 && static_cast<std::int64_t>(packed.size()) >= packed_bytes(first + count, bits));
  std::int64_t i = 0;
  for (; i < count && (first + i) % 8 != 0; ++i) codes[i] = code_at(packed.data(), bits, first + i);
  const std::int64_t octets = (count - i) / 8;
  const std::byte* aligned = packed.data() + (first + i) / 8 * bits;
  if (bits == 8) {
    if (octets > 0) std::memcpy(codes.data() + i, aligned, 8 * octets);
  } else if (bits == 4) {
    unpack_nibbles(aligned, 4 * octets, codes.data() + i);
  } else {
    unpack_octets_of[bits](aligned, octets, codes.data() + i);
  }
  for (i += 8 * octets; i < count; ++i) codes[i] = code_at(packed.data(), bits, first + i);
}

void pack_rows(std::span<const std::uint8_t> codes, std::int64_t cols, int bits, std::int64_t stride_bytes,
               std::span<std::byte> packed) {
  const std::int64_t rows = cols > 0 ? static_cast<std::int64_t>(codes.size()) / cols : 0;
  for (std::int64_t r = 0; r < rows; ++r)
    pack_bits(codes.subspan(r * cols, cols), bits, packed.subspan(r * stride_bytes, stride_bytes));
}

void unpack_rows(std::span<const std::byte> packed, std::int64_t cols, int bits, std::int64_t stride_bytes,
                 std::span<std::uint8_t> codes) {
  const std::int64_t rows = cols > 0 ? static_cast<std::int64_t>(codes.size()) / cols : 0;
  for (std::int64_t r = 0; r < rows; ++r)
    unpack_bits(packed.subspan(r * stride_bytes, stride_bytes), bits, 0, codes.subspan(r * cols, cols));
}

}  // namespace vernier
