#include "pipeline/target_grids.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <tuple>
#include <utility>

#include "base/fail.h"
#include "formats/gguf/twins.h"
#include "pipeline/plan_weights.h"

namespace vernier {
namespace {

constexpr std::array<std::string_view, 10> even_blocks = {"q2_k", "q3_k", "q4_0", "q4_1", "q4_k",
                                                          "q5_0", "q5_1", "q5_k", "q6_k", "q8_0"};

// Weights of one kind in all layers are held or refused alike.
std::string kind_of(const WeightPlan& weight) {
  std::string kind = weight.name;
  std::erase_if(kind, [](unsigned char c) { return std::isdigit(c); });
  const char* inputs = !weight.activation ? "" : weight.activation->dynamic ? " dynamic" : " static";
  return fmt::format("{} {} {}{}{}", kind, weight.shape.text(), weight.grid->text(),
                     weight.column_groups ? " columns" : "", inputs);
}

std::vector<GridSpec> candidates(const GridSpec& from) {
  std::vector<GridSpec> grids;
  for (const std::string_view name : even_blocks) grids.push_back(*find_format(name).value()->fixed);
  for (int bits = 2; bits <= 8; ++bits)
    for (const bool symmetric : {true, false})
      for (const std::int64_t group :
           {from.group, std::int64_t{32}, std::int64_t{64}, std::int64_t{128}, std::int64_t{0}})
        for (const DType scale : {from.scale_dtype, DType::f16, DType::bf16})
          grids.push_back({"int", bits, symmetric, group, scale});
  std::erase_if(grids, [](const GridSpec& spec) { return !make_grid(spec).ok(); });
  return grids;
}

// The 16-bit type of its scales, else f16.
DType half_of(const GridSpec& grid) { return grid.scale_dtype == DType::bf16 ? DType::bf16 : DType::f16; }

// The grid's own search; bytes are spaced so finely that the plain range is as good.
RangeSpec own_range(const GridSpec& grid) {
  const FormatDescriptor& format = *find_format(grid.format).value();
  return {.method = format.fixed && grid.bits < 8 ? "search" : "minmax"};
}

}  // namespace

TargetGrids::TargetGrids(const ContainerDescriptor& container, const OutputPlan& plan)
    : container_(container), one_(plan) {
  for (WeightPlan& weight : one_.weights) weight.grid.reset();
}

Status TargetGrids::holds(std::size_t i, const WeightPlan& weight) {
  const auto [slot, added] = asked_.emplace(kind_of(weight), std::nullopt);
  if (added) {
    const WeightPlan plain = std::exchange(one_.weights[i], weight);
    if (Status status = container_.accepts(one_); !status.ok()) {
      slot->second = std::move(status).take_error();
      std::string& reason = slot->second->message;
      for (const std::string& known : {weight.grid->text() + ": ", weight.name + ": "})
        if (const auto at = reason.find(known); at != std::string::npos) reason.erase(0, at + known.size());
    }
    one_.weights[i] = plain;
  }
  return slot->second ? Status(*slot->second) : Status();
}

Status TargetGrids::settle(std::size_t i, const RoundingOptions& rounding, WeightPlan& weight, Move& move) {
  if (move.round) return holds(i, weight);  // a float, already on the grid it is rounded to
  if (rounding.allowed && rounding.all) return round(i, rounding, weight, move);
  Status status = holds(i, weight);
  if (status.ok()) return {};
  if (const auto twin = twin_of(*weight.grid)) {
    WeightPlan other = weight;
    other.grid = twin;
    if (holds(i, other).ok()) {
      weight.grid = twin;
      return {};
    }
  }
  if (rounding.allowed) return round(i, rounding, weight, move);
  return status;
}

Status TargetGrids::round(std::size_t i, const RoundingOptions& rounding, WeightPlan& weight, Move& move) {
  WeightPlan other = weight;
  other.column_groups = false;
  const auto near = nearest(i, *weight.grid, other);
  if (!near) return round_to_float(i, rounding, weight, move);
  if (rounding.recipe) {
    const WeightSpec spec = weight_spec_for(*rounding.recipe, weight.name);
    if (spec.bits >= 16) return round_to_float(i, rounding, weight, move);
    other.grid = grid_spec(spec, half_of(*weight.grid));
    move.range = range_spec(spec);
    VN_TRY(make_grid(*other.grid));
    VN_TRY(holds(i, other));
  } else {
    other.grid = near;
    move.range = own_range(*near);
  }
  move.round = *other.grid != *weight.grid || weight.column_groups;
  weight = std::move(other);
  return {};
}

Status TargetGrids::round_to_float(std::size_t i, const RoundingOptions& rounding, WeightPlan& weight, Move& move) {
  if (weight.activation) return holds(i, weight);
  weight.dtype = rounding.float_type.value_or(half_of(*weight.grid));
  weight.grid.reset();
  weight.column_groups = false;
  move.round = true;
  return {};
}

std::optional<GridSpec> TargetGrids::nearest(std::size_t i, const GridSpec& from, WeightPlan weight) {
  const auto stored_bits = [&](const GridSpec& spec) {
    return make_grid(spec).value()->bits_per_weight(weight.shape[0], weight.shape[1]);
  };
  const double wanted = stored_bits(from);
  const auto distance = [&](const GridSpec& spec) {
    return std::tuple(std::abs(spec.bits - from.bits), spec.bits < from.bits, spec.symmetric != from.symmetric,
                      std::fabs(stored_bits(spec) - wanted));
  };
  std::vector<GridSpec> grids = candidates(from);
  std::stable_sort(grids.begin(), grids.end(),
                   [&](const GridSpec& a, const GridSpec& b) { return distance(a) < distance(b); });
  for (const GridSpec& grid : grids) {
    weight.grid = grid;
    if (holds(i, weight).ok()) return grid;
  }
  return std::nullopt;
}

}  // namespace vernier
