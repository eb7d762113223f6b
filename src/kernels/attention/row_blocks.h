// Rows in blocks whose size the compiler knows.
#pragma once

#include <cstdint>
#include <type_traits>

namespace vernier::kernels {

// Calls body(std::integral_constant<int, n>, row) for blocks of 8, 4, 2 and 1 rows that make up [first, last).
template <class Body>
void for_row_blocks(std::int64_t first, std::int64_t last, const Body& body) {
  std::int64_t row = first;
  const auto take = [&](auto rows) {
    body(rows, row);
    row += rows.value;
  };
  while (row + 8 <= last) take(std::integral_constant<int, 8>());
  if (row + 4 <= last) take(std::integral_constant<int, 4>());
  if (row + 2 <= last) take(std::integral_constant<int, 2>());
  if (row < last) take(std::integral_constant<int, 1>());
}

}  // namespace vernier::kernels
