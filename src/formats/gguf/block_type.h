// The block types of GGUF as grids. Every one of them decodes by the same arithmetic, in this order, in float:
//
//   value = (d * scale) * level(code) - (dmin * min)
//
// d, dmin: floats of the block; scale, min: small integers of a sub-block (1 where the type has none). A "group" of the
// grid is a sub-block; where several share d and dmin they are settled together, a super-block at a time.
// Source: handbook, formats, "GGUF v3", block layouts.
#pragma once

#include <cstdint>
#include <span>

#include "io/gguf/types.h"
#include "vernier/format.h"

namespace vernier {

constexpr int gguf_largest_block = 256, gguf_most_groups = 16;

// Parameters of a group, in this order. d and dmin are the same in all groups of a settled super-block.
enum BlockParam { block_d = 0, block_dmin = 1, block_scale = 2, block_min = 3, block_params = 4 };

// One block in logical form.
struct BlockFields {
  float d = 0, dmin = 0;
  float scale[gguf_most_groups];
  float min[gguf_most_groups];
  std::uint8_t codes[gguf_largest_block];
};

struct BlockType {
  std::string_view name;
  std::int64_t group;         // columns of a sub-block
  int bits;                   // of a code
  int levels;                 // codes are 0 .. levels - 1
  int zero;                   // the code of 0 where there is one; without a table level(code) = code - zero
  bool affine;                // has dmin
  int scale_low, scale_high;  // integer scales of sub-blocks; equal where there are none
  const std::int8_t* table;   // level(code), or null
  bool exponent;              // d is a power of two, 2^(e - 128) for a byte e
  void (*unpack)(const std::uint8_t* bytes, BlockFields& out);
  void (*pack)(const BlockFields& block, std::uint8_t* bytes);
  const GgufType* stored = find_gguf_type(name);

  std::int64_t block() const { return stored->block; }
  std::int64_t bytes() const { return stored->bytes; }
  std::int64_t groups() const { return block() / group; }
  bool joint() const { return scale_low != scale_high; }
  bool symmetric() const { return !affine; }
  float level(int code) const { return table ? table[code] : static_cast<float>(code - zero); }
  bool exact_zero() const { return !affine && level(zero) == 0; }
  GridSpec spec() const;
};

// Null where no block type has that name.
const BlockType* find_block_type(std::string_view name);

}  // namespace vernier
