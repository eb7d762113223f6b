// In which order GPTQ rounds columns, and which columns share parameters. Source: handbook, rounding, 3, "Groups x
// order".
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace vernier::gptq {

enum class Order {
  none,         // as they lie
  act,          // by falling diagonal; a group is `group` consecutive columns of that order: needs group_of_column
  static_act,   // by falling diagonal; columns keep the group they lie in, fitted before the sweep
  group_aware,  // groups by their largest diagonal, columns by falling diagonal inside each: groups stay whole
};
Order order_from_name(std::string_view name);  // "none", "act", "static", "group-aware"

// Positions are places in the order of rounding.
struct ColumnOrder {
  std::vector<std::int32_t> column;  // [cols] of each position
  std::vector<std::int32_t> group;   // [cols] of each position; groups are runs of positions unless `fitted_first`
  bool fitted_first = false;         // parameters come from the original weights, before any column is rounded
  std::vector<std::int32_t> group_of_column;  // [cols]; empty when it is column / group
};

// `diagonal` of the Hessian, one per column; `group` columns share parameters. Equal diagonals keep their order.
// `static_groups` fits parameters first whatever the order.
ColumnOrder make_order(Order order, bool static_groups, std::span<const float> diagonal, std::int64_t group);

// First positions of the blocks of a sweep, and the end: at most `block` positions each, and a group never starts
// inside a block it does not end in, so that a group is fitted on weights that have seen every earlier column.
std::vector<std::int64_t> cut_blocks(const ColumnOrder& order, std::int64_t block);

}  // namespace vernier::gptq
