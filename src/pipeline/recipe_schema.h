// Every key a recipe may hold, as tables: reading, checking, writing, --set and help all come from these.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "methods/method.h"
#include "pipeline/recipe_tree.h"
#include "vernier/recipe.h"

namespace vernier {

// Where a key of section S lives. An optional integer is a group: a number of columns, "channel" (0) or "tensor" (-1).
template <class S>
using RecipeField = std::variant<bool S::*, int S::*, std::int64_t S::*, std::uint64_t S::*, double S::*,
                                 std::string S::*, std::optional<bool> S::*, std::optional<std::int64_t> S::*>;

struct RecipeLimits {
  double low = std::numeric_limits<double>::lowest(), high = std::numeric_limits<double>::max();
  std::optional<double> also;  // one value outside the range that is allowed
};

template <class S>
struct RecipeKey {
  std::string_view name;
  RecipeField<S> field;
  std::string_view help;
  RecipeLimits limits = {};
  std::vector<std::string_view> choices = {};  // for text; empty: any
};

// The keys of one section. S: WeightSpec (weights), ActivationRecipe (activations), Recipe::Calibration (calibration),
// Recipe (the scalar keys at the top).
template <class S>
std::span<const RecipeKey<S>> recipe_section();

// Sets the keys that `map` holds, the others stay; `path` is "weights." or "". Keys in `elsewhere` are left to the
// caller.
template <class S>
Status read_section(const RecipeNode& map, const std::string& path, std::span<const std::string_view> elsewhere,
                    S& out);

// One value as YAML: 4, true, "minmax", "channel".
template <class S>
std::string section_value(const RecipeKey<S>& key, const S& section);

// For `vernier list` and documentation. Methods' options are listed by their descriptors.
struct RecipeKeyHelp {
  std::string path;      // "weights.bits"
  std::string wanted;    // "an integer from 2 to 8, or 16"
  std::string fallback;  // "4"
  std::string help;
};
std::vector<RecipeKeyHelp> recipe_keys();

// Text of an option's value as recipes write it; strings are quoted.
std::string option_text(const OptionValue& value);

// The error for a key nobody knows; the hint is the same name in another section, the nearest of `known`, or all of
// them.
Error unknown_key(const std::string& where, const std::string& key, const std::vector<std::string>& known);

std::string yaml_quoted(std::string_view text);  // a YAML double-quoted scalar

}  // namespace vernier
