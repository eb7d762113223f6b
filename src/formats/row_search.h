// What a grid may offer beside Grid: a search that sees a whole row.
#pragma once

#include <span>

namespace vernier {

class RowSearch {
 public:
  virtual ~RowSearch() = default;
  // Parameters [groups, params_per_group] of all groups of a row, settled. `importance` [cols] or empty.
  virtual void search_row(std::span<const float> row, std::span<const float> importance,
                          std::span<float> params) const = 0;
};

}  // namespace vernier
