// Which grid a weight gets in another container: its own, one with the same codes, or one it is rounded to; floats
// where the container has none for it.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "containers/container.h"
#include "formats/range.h"
#include "vernier/recipe.h"

namespace vernier {

// What happens to a weight on its way.
struct Move {
  std::optional<GridSpec> from = {};  // its grid in the source; none: floats, or nothing that can be taken apart
  bool round = false;                 // its values are rounded to the plan's grid or type; else they stay
  RangeSpec range = {};               // where it is rounded
};

// What the user says of weights that are rounded; without a recipe, each gets the container's nearest grid.
struct RoundingOptions {
  bool allowed = false;
  bool all = false;  // weights that the container holds as they are, too
  std::optional<Recipe> recipe = {};
  std::optional<DType> float_type = {};  // of weights that become floats; none: the 16-bit type of their scales
};

class TargetGrids {
 public:
  // `plan`: prepared, with the grids of the source. Both outlive this.
  TargetGrids(const ContainerDescriptor& container, const OutputPlan& plan);

  // Gives weight `i` its grid in the container. The error says why it has none; it names neither weight nor grid.
  Status settle(std::size_t i, const RoundingOptions& rounding, WeightPlan& weight, Move& move);

 private:
  Status holds(std::size_t i, const WeightPlan& weight);
  Status round(std::size_t i, const RoundingOptions& rounding, WeightPlan& weight, Move& move);
  Status round_to_float(std::size_t i, const RoundingOptions& rounding, WeightPlan& weight, Move& move);
  // The grid the container holds that is nearest to `from`: bits of a code first, then whether it is symmetric, then
  // stored bits. Plain integers and the block types of evenly spaced levels.
  std::optional<GridSpec> nearest(std::size_t i, const GridSpec& from, WeightPlan weight);

  const ContainerDescriptor& container_;
  OutputPlan one_;  // without grids, but for the weight that is asked about
  std::map<std::string, std::optional<Error>> asked_;
};

}  // namespace vernier
