// Which grids each container holds, asked of the containers themselves.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "containers/container.h"

namespace vernier {

// Grids that differ in their bits alone, with how a weight on them lies.
struct GridKind {
  std::string name;
  std::vector<GridSpec> grids;  // bits ascending
  bool column_groups = false;
  std::optional<ActivationSpec> activation = {};
};

// One of every kind there is, integers first.
std::vector<GridKind> grid_kinds();

// What a 256 x 256 linear of a llama on grid `at` of `kind` is in `container` code for code: the grid itself, or one
// with the same codes. None where the container cannot hold it without rounding.
std::optional<GridSpec> held_as(const ContainerDescriptor& container, const GridKind& kind, std::size_t at);

}  // namespace vernier
