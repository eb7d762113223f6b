// How the fields of each block type lie in its bytes. A "nibble pair" byte holds element j in its low half and element
// j + 16 (of 32) in its high half.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "formats/gguf/block_type.h"
#include "tensor/convert.h"

namespace vernier {
namespace {

constexpr std::int8_t nonlinear_levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
constexpr std::int8_t doubled_e2m1[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

float read_half(const std::uint8_t* bytes) {
  std::uint16_t bits;
  std::memcpy(&bits, bytes, 2);
  return f16_to_float(bits);
}

void write_half(float value, std::uint8_t* bytes) {
  const std::uint16_t bits = float_to_f16(value);
  std::memcpy(bytes, &bits, 2);
}

// Fields of a block without sub-blocks.
void set_plain(BlockFields& block, float d, float dmin = 0) {
  block.d = d;
  block.dmin = dmin;
  block.scale[0] = 1;
  block.min[0] = 1;
}

void read_nibbles(const std::uint8_t* bytes, std::uint8_t* codes) {
  for (int j = 0; j < 16; ++j) {
    codes[j] = bytes[j] & 15;
    codes[j + 16] = bytes[j] >> 4;
  }
}

void write_nibbles(const std::uint8_t* codes, std::uint8_t* bytes) {
  for (int j = 0; j < 16; ++j) bytes[j] = static_cast<std::uint8_t>((codes[j] & 15) | codes[j + 16] << 4);
}

// Bit 4 of 32 codes, code j at bit j.
void read_fifth_bits(const std::uint8_t* bytes, std::uint8_t* codes) {
  for (int j = 0; j < 32; ++j) codes[j] |= static_cast<std::uint8_t>((bytes[j / 8] >> (j % 8) & 1) << 4);
}

void write_fifth_bits(const std::uint8_t* codes, std::uint8_t* bytes) {
  std::fill_n(bytes, 4, std::uint8_t{0});
  for (int j = 0; j < 32; ++j) bytes[j / 8] |= static_cast<std::uint8_t>((codes[j] >> 4 & 1) << (j % 8));
}

void unpack_q4_0(const std::uint8_t* b, BlockFields& out) {
  set_plain(out, read_half(b));
  read_nibbles(b + 2, out.codes);
}
void pack_q4_0(const BlockFields& in, std::uint8_t* b) {
  write_half(in.d, b);
  write_nibbles(in.codes, b + 2);
}

// Types with a stored minimum m keep dmin = -m.
void unpack_q4_1(const std::uint8_t* b, BlockFields& out) {
  set_plain(out, read_half(b), -read_half(b + 2));
  read_nibbles(b + 4, out.codes);
}
void pack_q4_1(const BlockFields& in, std::uint8_t* b) {
  write_half(in.d, b);
  write_half(-in.dmin, b + 2);
  write_nibbles(in.codes, b + 4);
}

void unpack_q5_0(const std::uint8_t* b, BlockFields& out) {
  set_plain(out, read_half(b));
  read_nibbles(b + 6, out.codes);
  read_fifth_bits(b + 2, out.codes);
}
void pack_q5_0(const BlockFields& in, std::uint8_t* b) {
  write_half(in.d, b);
  write_fifth_bits(in.codes, b + 2);
  write_nibbles(in.codes, b + 6);
}

void unpack_q5_1(const std::uint8_t* b, BlockFields& out) {
  set_plain(out, read_half(b), -read_half(b + 2));
  read_nibbles(b + 8, out.codes);
  read_fifth_bits(b + 4, out.codes);
}
void pack_q5_1(const BlockFields& in, std::uint8_t* b) {
  write_half(in.d, b);
  write_half(-in.dmin, b + 2);
  write_fifth_bits(in.codes, b + 4);
  write_nibbles(in.codes, b + 8);
}

// Signed bytes; the code is the byte + 128.
void unpack_q8_0(const std::uint8_t* b, BlockFields& out) {
  set_plain(out, read_half(b));
  for (int j = 0; j < 32; ++j) out.codes[j] = b[2 + j] ^ 0x80;
}
void pack_q8_0(const BlockFields& in, std::uint8_t* b) {
  write_half(in.d, b);
  for (int j = 0; j < 32; ++j) b[2 + j] = in.codes[j] ^ 0x80;
}

// Byte 0: e of d = 2^(e - 128).
void unpack_mxfp4(const std::uint8_t* b, BlockFields& out) {
  set_plain(out, std::ldexp(1.0f, b[0] - 128));
  read_nibbles(b + 1, out.codes);
}
void pack_mxfp4(const BlockFields& in, std::uint8_t* b) {
  b[0] = static_cast<std::uint8_t>(std::clamp(std::ilogb(in.d) + 128, 0, 254));
  write_nibbles(in.codes, b + 1);
}

// Crumbs of a super-block: element 128 h + 32 j + l is at byte 32 h + l, bits 2 j.
void read_crumbs(const std::uint8_t* bytes, std::uint8_t* codes) {
  for (int y = 0; y < 256; ++y) codes[y] = bytes[y / 128 * 32 + y % 32] >> (y % 128 / 32 * 2) & 3;
}
void write_crumbs(const std::uint8_t* codes, std::uint8_t* bytes) {
  std::fill_n(bytes, 64, std::uint8_t{0});
  for (int y = 0; y < 256; ++y)
    bytes[y / 128 * 32 + y % 32] |= static_cast<std::uint8_t>((codes[y] & 3) << (y % 128 / 32 * 2));
}

void unpack_q2_k(const std::uint8_t* b, BlockFields& out) {
  for (int g = 0; g < 16; ++g) {
    out.scale[g] = static_cast<float>(b[g] & 15);
    out.min[g] = static_cast<float>(b[g] >> 4);
  }
  read_crumbs(b + 16, out.codes);
  out.d = read_half(b + 80);
  out.dmin = read_half(b + 82);
}
void pack_q2_k(const BlockFields& in, std::uint8_t* b) {
  for (int g = 0; g < 16; ++g)
    b[g] = static_cast<std::uint8_t>(static_cast<int>(in.scale[g]) | static_cast<int>(in.min[g]) << 4);
  write_crumbs(in.codes, b + 16);
  write_half(in.d, b + 80);
  write_half(in.dmin, b + 82);
}

// Six-bit scales + 32: four low bits in eight bytes of nibbles, two high bits in four more.
void unpack_q3_k(const std::uint8_t* b, BlockFields& out) {
  const std::uint8_t* const scales = b + 96;
  read_crumbs(b + 32, out.codes);
  for (int y = 0; y < 256; ++y) out.codes[y] |= static_cast<std::uint8_t>((b[y % 32] >> (y / 32) & 1) << 2);
  for (int g = 0; g < 16; ++g) {
    const int low = g < 8 ? scales[g] & 15 : scales[g - 8] >> 4;
    const int high = scales[8 + g % 4] >> (2 * (g / 4)) & 3;
    out.scale[g] = static_cast<float>((low | high << 4) - 32);
    out.min[g] = 1;
  }
  out.d = read_half(b + 108);
  out.dmin = 0;
}
void pack_q3_k(const BlockFields& in, std::uint8_t* b) {
  std::fill_n(b, 110, std::uint8_t{0});
  write_crumbs(in.codes, b + 32);
  for (int y = 0; y < 256; ++y) b[y % 32] |= static_cast<std::uint8_t>((in.codes[y] >> 2 & 1) << (y / 32));
  std::uint8_t* const scales = b + 96;
  for (int g = 0; g < 16; ++g) {
    const int scale = static_cast<int>(in.scale[g]) + 32;
    scales[g % 8] |= static_cast<std::uint8_t>((scale & 15) << (g < 8 ? 0 : 4));
    scales[8 + g % 4] |= static_cast<std::uint8_t>((scale >> 4) << (2 * (g / 4)));
  }
  write_half(in.d, b + 108);
}

// Eight six-bit scales and minimums in twelve bytes: those of the first four sub-blocks whole, the low nibbles of the
// last four together, their high bits on top of the first four.
void read_six_bit_pairs(const std::uint8_t* s, BlockFields& out) {
  for (int j = 0; j < 8; ++j) {
    const int scale = j < 4 ? s[j] & 63 : (s[j + 4] & 15) | s[j - 4] >> 6 << 4;
    const int min = j < 4 ? s[j + 4] & 63 : s[j + 4] >> 4 | s[j] >> 6 << 4;
    out.scale[j] = static_cast<float>(scale);
    out.min[j] = static_cast<float>(min);
  }
}
void write_six_bit_pairs(const BlockFields& in, std::uint8_t* s) {
  std::fill_n(s, 12, std::uint8_t{0});
  for (int j = 0; j < 8; ++j) {
    const int scale = static_cast<int>(in.scale[j]), min = static_cast<int>(in.min[j]);
    if (j < 4) {
      s[j] |= static_cast<std::uint8_t>(scale);
      s[j + 4] |= static_cast<std::uint8_t>(min);
    } else {
      s[j + 4] = static_cast<std::uint8_t>((scale & 15) | (min & 15) << 4);
      s[j - 4] |= static_cast<std::uint8_t>(scale >> 4 << 6);
      s[j] |= static_cast<std::uint8_t>(min >> 4 << 6);
    }
  }
}

// Element 64 c + 32 h + l is nibble h of byte 32 c + l.
void read_half_bytes(const std::uint8_t* bytes, std::uint8_t* codes) {
  for (int y = 0; y < 256; ++y) codes[y] = bytes[y / 64 * 32 + y % 32] >> (y % 64 / 32 * 4) & 15;
}
void write_half_bytes(const std::uint8_t* codes, std::uint8_t* bytes) {
  std::fill_n(bytes, 128, std::uint8_t{0});
  for (int y = 0; y < 256; ++y)
    bytes[y / 64 * 32 + y % 32] |= static_cast<std::uint8_t>((codes[y] & 15) << (y % 64 / 32 * 4));
}

void unpack_q4_k(const std::uint8_t* b, BlockFields& out) {
  out.d = read_half(b);
  out.dmin = read_half(b + 2);
  read_six_bit_pairs(b + 4, out);
  read_half_bytes(b + 16, out.codes);
}
void pack_q4_k(const BlockFields& in, std::uint8_t* b) {
  write_half(in.d, b);
  write_half(in.dmin, b + 2);
  write_six_bit_pairs(in, b + 4);
  write_half_bytes(in.codes, b + 16);
}

void unpack_q5_k(const std::uint8_t* b, BlockFields& out) {
  out.d = read_half(b);
  out.dmin = read_half(b + 2);
  read_six_bit_pairs(b + 4, out);
  read_half_bytes(b + 48, out.codes);
  for (int y = 0; y < 256; ++y) out.codes[y] |= static_cast<std::uint8_t>((b[16 + y % 32] >> (y / 32) & 1) << 4);
}
void pack_q5_k(const BlockFields& in, std::uint8_t* b) {
  write_half(in.d, b);
  write_half(in.dmin, b + 2);
  write_six_bit_pairs(in, b + 4);
  std::fill_n(b + 16, 32, std::uint8_t{0});
  for (int y = 0; y < 256; ++y) b[16 + y % 32] |= static_cast<std::uint8_t>((in.codes[y] >> 4 & 1) << (y / 32));
  write_half_bytes(in.codes, b + 48);
}

// Element 128 h + 32 k + l: low nibble k / 2 of byte 64 h + 32 (k % 2) + l, high bits 2 k of byte 32 h + l.
struct SixBitPlace {
  int low, low_shift, high, high_shift;
};
constexpr SixBitPlace six_bit_place(int y) {
  const int h = y / 128, k = y % 128 / 32, l = y % 32;
  return {64 * h + 32 * (k % 2) + l, 4 * (k / 2), 128 + 32 * h + l, 2 * k};
}

void unpack_q6_k(const std::uint8_t* b, BlockFields& out) {
  for (int y = 0; y < 256; ++y) {
    const SixBitPlace p = six_bit_place(y);
    out.codes[y] = static_cast<std::uint8_t>((b[p.low] >> p.low_shift & 15) | (b[p.high] >> p.high_shift & 3) << 4);
  }
  for (int g = 0; g < 16; ++g) {
    out.scale[g] = static_cast<float>(static_cast<std::int8_t>(b[192 + g]));
    out.min[g] = 1;
  }
  out.d = read_half(b + 208);
  out.dmin = 0;
}
void pack_q6_k(const BlockFields& in, std::uint8_t* b) {
  std::fill_n(b, 192, std::uint8_t{0});
  for (int y = 0; y < 256; ++y) {
    const SixBitPlace p = six_bit_place(y);
    b[p.low] |= static_cast<std::uint8_t>((in.codes[y] & 15) << p.low_shift);
    b[p.high] |= static_cast<std::uint8_t>((in.codes[y] >> 4 & 3) << p.high_shift);
  }
  for (int g = 0; g < 16; ++g) b[192 + g] = static_cast<std::uint8_t>(static_cast<std::int8_t>(in.scale[g]));
  write_half(in.d, b + 208);
}

// Six-bit scales + 32: nibbles in scales_l, high bits in the word scales_h.
void unpack_iq4_xs(const std::uint8_t* b, BlockFields& out) {
  out.d = read_half(b);
  out.dmin = 0;
  const int high = b[2] | b[3] << 8;
  for (int g = 0; g < 8; ++g) {
    out.scale[g] = static_cast<float>(((b[4 + g / 2] >> (4 * (g % 2)) & 15) | (high >> (2 * g) & 3) << 4) - 32);
    out.min[g] = 1;
    read_nibbles(b + 8 + 16 * g, out.codes + 32 * g);
  }
}
void pack_iq4_xs(const BlockFields& in, std::uint8_t* b) {
  write_half(in.d, b);
  std::fill_n(b + 2, 6, std::uint8_t{0});
  int high = 0;
  for (int g = 0; g < 8; ++g) {
    const int scale = static_cast<int>(in.scale[g]) + 32;
    b[4 + g / 2] |= static_cast<std::uint8_t>((scale & 15) << (4 * (g % 2)));
    high |= scale >> 4 << (2 * g);
    write_nibbles(in.codes + 32 * g, b + 8 + 16 * g);
  }
  b[2] = static_cast<std::uint8_t>(high);
  b[3] = static_cast<std::uint8_t>(high >> 8);
}

// Five trits in a byte, as the fraction q / 243 of 256 rounded up: multiplying by 3 modulo 256 brings out digit after
// digit. The last four bytes hold four trits.
constexpr int pow3[] = {1, 3, 9, 27, 81};
struct TritPlace {
  int byte, digit;
};
constexpr TritPlace trit_place(int y) {
  if (y < 160) return {y % 32, y / 32};
  if (y < 240) return {32 + (y - 160) % 16, (y - 160) / 16};
  return {48 + (y - 240) % 4, (y - 240) / 4};
}

void unpack_tq1_0(const std::uint8_t* b, BlockFields& out) {
  set_plain(out, read_half(b + 52));
  for (int y = 0; y < 256; ++y) {
    const TritPlace p = trit_place(y);
    out.codes[y] = static_cast<std::uint8_t>((b[p.byte] * pow3[p.digit] & 255) * 3 >> 8);
  }
}
void pack_tq1_0(const BlockFields& in, std::uint8_t* b) {
  int number[52] = {};
  for (int y = 0; y < 256; ++y) {
    const TritPlace p = trit_place(y);
    number[p.byte] += in.codes[y] * pow3[4 - p.digit];
  }
  for (int i = 0; i < 52; ++i) b[i] = static_cast<std::uint8_t>((number[i] * 256 + 242) / 243);
  write_half(in.d, b + 52);
}

void unpack_tq2_0(const std::uint8_t* b, BlockFields& out) {
  set_plain(out, read_half(b + 64));
  read_crumbs(b, out.codes);
}
void pack_tq2_0(const BlockFields& in, std::uint8_t* b) {
  write_crumbs(in.codes, b);
  write_half(in.d, b + 64);
}

// name, group, bits, levels, zero, affine, scales from, to, table, exponent
constexpr BlockType block_types[] = {
    {"q4_0", 32, 4, 16, 8, false, 1, 1, nullptr, false, unpack_q4_0, pack_q4_0},
    {"q4_1", 32, 4, 16, 0, true, 1, 1, nullptr, false, unpack_q4_1, pack_q4_1},
    {"q5_0", 32, 5, 32, 16, false, 1, 1, nullptr, false, unpack_q5_0, pack_q5_0},
    {"q5_1", 32, 5, 32, 0, true, 1, 1, nullptr, false, unpack_q5_1, pack_q5_1},
    {"q8_0", 32, 8, 256, 128, false, 1, 1, nullptr, false, unpack_q8_0, pack_q8_0},
    {"q2_k", 16, 2, 4, 0, true, 0, 15, nullptr, false, unpack_q2_k, pack_q2_k},
    {"q3_k", 16, 3, 8, 4, false, -32, 31, nullptr, false, unpack_q3_k, pack_q3_k},
    {"q4_k", 32, 4, 16, 0, true, 0, 63, nullptr, false, unpack_q4_k, pack_q4_k},
    {"q5_k", 32, 5, 32, 0, true, 0, 63, nullptr, false, unpack_q5_k, pack_q5_k},
    {"q6_k", 16, 6, 64, 32, false, -128, 127, nullptr, false, unpack_q6_k, pack_q6_k},
    {"iq4_nl", 32, 4, 16, 0, false, 1, 1, nonlinear_levels, false, unpack_q4_0, pack_q4_0},
    {"iq4_xs", 32, 4, 16, 0, false, -32, 31, nonlinear_levels, false, unpack_iq4_xs, pack_iq4_xs},
    {"tq1_0", 256, 2, 3, 1, false, 1, 1, nullptr, false, unpack_tq1_0, pack_tq1_0},
    {"tq2_0", 256, 2, 3, 1, false, 1, 1, nullptr, false, unpack_tq2_0, pack_tq2_0},
    {"mxfp4", 32, 4, 16, 0, false, 1, 1, doubled_e2m1, true, unpack_mxfp4, pack_mxfp4},
};

}  // namespace

const BlockType* find_block_type(std::string_view name) {
  for (const BlockType& type : block_types)
    if (type.name == name) return &type;
  return nullptr;
}

GridSpec BlockType::spec() const {
  // A power of two of eight exponent bits is a bfloat16.
  return {std::string(name), bits, symmetric(), group, exponent ? DType::bf16 : DType::f16};
}

}  // namespace vernier
