#include "formats/packing.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <bit>
#include <cassert>
#include <cstring>

#include "base/vectorize.h"

namespace vernier {

static_assert(std::endian::native == std::endian::little);

namespace {

// Eight codes are exactly `bits` bytes, so whole octets of codes start on byte boundaries. An octet is moved as a word:
// eight bytes to 8 * bits bits, or back.
//
// A whole word is loaded or stored where `left` bytes allow, which is far cheaper than exactly `bits` bytes: loads mask
// the rest, and stores run in rising order, so the next one overwrites it.
inline std::uint64_t load(const std::byte* packed, std::int64_t left, int bits) {
  std::uint64_t word = 0;
  if (left >= 8)
    std::memcpy(&word, packed, 8);
  else
    std::memcpy(&word, packed, bits);
  return word;
}

inline void store(std::uint64_t word, std::byte* packed, std::int64_t left, int bits) {
  if (left >= 8)
    std::memcpy(packed, &word, 8);
  else
    std::memcpy(packed, &word, bits);
}

void pack_octets_portable(const std::uint8_t* codes, std::int64_t octets, int bits, std::byte* packed) {
  const std::uint64_t mask = (1u << bits) - 1;
  for (std::int64_t o = 0; o < octets; ++o, codes += 8, packed += bits) {
    std::uint64_t word = 0;
    for (int i = 0; i < 8; ++i) word |= (codes[i] & mask) << (i * bits);
    store(word, packed, (octets - o) * bits, bits);
  }
}

void unpack_octets_portable(const std::byte* packed, std::int64_t octets, int bits, std::uint8_t* codes) {
  const std::uint64_t mask = (1u << bits) - 1;
  for (std::int64_t o = 0; o < octets; ++o, codes += 8, packed += bits) {
    std::uint64_t word = load(packed, (octets - o) * bits, bits);
    for (int i = 0; i < 8; ++i) codes[i] = static_cast<std::uint8_t>((word >> (i * bits)) & mask);
  }
}

#if defined(__x86_64__)
__attribute__((target("bmi2"))) void pack_octets_bmi2(const std::uint8_t* codes, std::int64_t octets, int bits,
                                                      std::byte* packed) {
  const std::uint64_t mask = 0x0101010101010101u * ((1u << bits) - 1);
  for (std::int64_t o = 0; o < octets; ++o, codes += 8, packed += bits) {
    std::uint64_t word;
    std::memcpy(&word, codes, 8);
    word = _pext_u64(word, mask);
    store(word, packed, (octets - o) * bits, bits);
  }
}

__attribute__((target("bmi2"))) void unpack_octets_bmi2(const std::byte* packed, std::int64_t octets, int bits,
                                                        std::uint8_t* codes) {
  const std::uint64_t mask = 0x0101010101010101u * ((1u << bits) - 1);
  for (std::int64_t o = 0; o < octets; ++o, codes += 8, packed += bits) {
    std::uint64_t word = load(packed, (octets - o) * bits, bits);
    word = _pdep_u64(word, mask);
    std::memcpy(codes, &word, 8);
  }
}

const bool has_bmi2 = __builtin_cpu_supports("bmi2");
const auto pack_octets = has_bmi2 ? pack_octets_bmi2 : pack_octets_portable;
const auto unpack_octets = has_bmi2 ? unpack_octets_bmi2 : unpack_octets_portable;
#else
const auto pack_octets = pack_octets_portable;
const auto unpack_octets = unpack_octets_portable;
#endif

VN_VECTORIZED void unpack_nibbles(const std::byte* packed, std::int64_t pairs, std::uint8_t* codes) {
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(packed);
  for (std::int64_t i = 0; i < pairs; ++i) {
    codes[2 * i] = bytes[i] & 15;
    codes[2 * i + 1] = bytes[i] >> 4;
  }
}

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
  pack_octets(codes.data(), octets, bits, packed.data());
  std::uint8_t last[8] = {};
  std::byte last_packed[8];
  const std::int64_t tail = count - 8 * octets, done = octets * bits, tail_bytes = packed_bytes(tail, bits);
  if (tail > 0) {
    std::memcpy(last, codes.data() + 8 * octets, tail);
    pack_octets(last, 1, bits, last_packed);
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
    unpack_octets(aligned, octets, bits, codes.data() + i);
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
