// Sub-blocks searched side by side. Every lane is a sub-block of its own and adds its columns in order, so results
// depend neither on the width of the processor's vectors nor on what the other lanes hold.
#pragma once

#include <cstdint>
#include <span>

#include "formats/gguf/block_type.h"

namespace vernier {

constexpr int search_lanes = gguf_most_groups;
using Lanes = float[search_lanes];

// A type and its levels as the search reads them: whole numbers from low to high, or those of a table.
struct SearchType {
  explicit SearchType(const BlockType& block_type);

  static constexpr int table_reach = 128;  // no level of a table is further from 0
  const BlockType& type;
  float low, high;
  // Of a table: the level nearest to all t with -table_reach + i / 2 <= t < -table_reach + (i + 1) / 2. Its levels are
  // whole numbers, so no two of them part elsewhere.
  float nearest[4 * table_reach] = {};
};

// Up to search_lanes sub-blocks and the weights of their errors, both in units of their own: x is the values times
// `unit`, a power of two that the lanes of a super-block share.
struct SearchBatch {
  std::int64_t columns = 0;
  Lanes x[gguf_largest_block], w[gguf_largest_block];
  Lanes unit;
  Lanes low, high;     // low <= 0 <= high
  Lanes sum_w, sum_x;  // of w, w x
};

// step * level - offset stands for a value; offset >= 0, and 0 where the type has none.
struct SearchLines {
  Lanes step, offset;
};

// Sums over the columns, for the levels that some lines give.
struct LevelSums {
  Lanes l, ll, xl;  // of w level, w level^2, w x level
};

// Sub-blocks [first, first + count) of a row. `importance` [cols] or empty; `row_square`: the mean square of the row.
// Weights without importance: sqrt(mean square of the sub-block) + |x| for types with an offset, x^2 for others. With
// it, importance * sqrt(factor * mean square + x^2), with the mean over the super-block, or over the row where the type
// has none. Source: handbook, formats, "Reference encoders", "With an importance matrix".
void load_batch(const BlockType& type, std::span<const float> row, std::span<const float> importance, double row_square,
                std::int64_t first, int count, SearchBatch& batch);

// For each lane the line of least weighted error among many, each refitted to its codes by least squares.
void search_lines(const SearchType& search, const SearchBatch& batch, SearchLines& best);

// The sums for the levels nearest to (x + offset) / step; step 0 gives level 0.
void level_sums(const SearchType& search, const SearchBatch& batch, const SearchLines& lines, LevelSums& sums);

// Stored d, dmin, scales and mins of super-blocks whose lanes lie one after another, `groups` each, near `lines`: found
// by turns for the codes they give and the codes for them. `params` [count, block_params].
void settle_lines(const SearchType& search, const SearchBatch& batch, const SearchLines& lines, int groups, int count,
                  float* params);

}  // namespace vernier
