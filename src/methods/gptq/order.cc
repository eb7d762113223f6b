#include "methods/gptq/order.h"

#include <algorithm>
#include <numeric>

namespace vernier::gptq {

Order order_from_name(std::string_view name) {
  if (name == "none") return Order::none;
  if (name == "act") return Order::act;
  if (name == "static") return Order::static_act;
  return Order::group_aware;
}

ColumnOrder make_order(Order order, bool static_groups, std::span<const float> diagonal, std::int64_t group) {
  const auto cols = static_cast<std::int64_t>(diagonal.size());
  ColumnOrder result;
  result.column.resize(cols);
  result.group.resize(cols);
  std::iota(result.column.begin(), result.column.end(), 0);
  const auto falling = [&](std::int32_t a, std::int32_t b) { return diagonal[a] > diagonal[b]; };

  if (order == Order::act || order == Order::static_act) {
    std::stable_sort(result.column.begin(), result.column.end(), falling);
  } else if (order == Order::group_aware) {
    const std::int64_t whole = cols / group;  // a shorter last group stays last
    std::vector<std::int64_t> groups(whole);
    std::vector<float> largest(whole);
    std::iota(groups.begin(), groups.end(), 0);
    for (std::int64_t g = 0; g < whole; ++g)
      largest[g] = *std::max_element(diagonal.begin() + g * group, diagonal.begin() + (g + 1) * group);
    std::stable_sort(groups.begin(), groups.end(), [&](auto a, auto b) { return largest[a] > largest[b]; });
    for (std::int64_t place = 0; place < whole; ++place) {
      const auto begin = result.column.begin() + place * group;
      std::iota(begin, begin + group, static_cast<std::int32_t>(groups[place] * group));
      std::stable_sort(begin, begin + group, falling);
    }
    std::stable_sort(result.column.begin() + whole * group, result.column.end(), falling);
  }

  const bool groups_of_places = order == Order::act && !static_groups && group < cols;
  for (std::int64_t i = 0; i < cols; ++i)
    result.group[i] = static_cast<std::int32_t>((groups_of_places ? i : result.column[i]) / group);
  if (groups_of_places) {
    result.group_of_column.resize(cols);
    for (std::int64_t i = 0; i < cols; ++i) result.group_of_column[result.column[i]] = result.group[i];
  }
  result.fitted_first = static_groups || order == Order::static_act;
  return result;
}

std::vector<std::int64_t> cut_blocks(const ColumnOrder& order, std::int64_t block) {
  const auto cols = static_cast<std::int64_t>(order.column.size());
  const auto group_end = [&](std::int64_t i) {
    while (i + 1 < cols && order.group[i + 1] == order.group[i]) ++i;
    return i + 1;
  };
  std::vector<std::int64_t> cuts{0};
  while (cuts.back() < cols) {
    const std::int64_t first = cuts.back();
    std::int64_t last = std::min(first + block, cols);
    if (!order.fitted_first && last < cols) {
      std::int64_t whole = first;  // the end of the last group that ends in this block
      for (std::int64_t end = group_end(first); end <= last; end = end < cols ? group_end(end) : cols + 1) whole = end;
      if (whole > first) last = whole;
    }
    cuts.push_back(last);
  }
  return cuts;
}

}  // namespace vernier::gptq
