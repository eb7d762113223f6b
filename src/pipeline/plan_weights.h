// Which tensors a recipe quantizes, and on which grid: names and shapes only.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "arch/graph.h"
#include "containers/container.h"
#include "formats/range.h"
#include "io/safetensors.h"
#include "vernier/recipe.h"

namespace vernier {

// One plan per tensor of the model, in this order. `graph` is null for architectures nobody described: then every
// float matrix with at least 32 rows and columns that no ignore pattern matches is a linear.
Result<std::vector<WeightPlan>> plan_weights(std::span<const TensorEntry> tensors, const ModelGraph* graph,
                                             const Recipe& recipe, bool column_groups,
                                             std::vector<std::string>& ignored_modules);

// Module names of the linears that `plans` leave in high precision, a tied head included: what containers list as
// exceptions.
std::vector<std::string> unquantized_linears(std::span<const WeightPlan> plans, const ModelGraph* graph);

// Replaces every override whose pattern names a set of layers in braces by one override per layer of that set, in
// place:
// "*.{more-bits}.*v_proj.weight" becomes "*.2.*v_proj.weight", ... Sets, of n `layers`: first-sixteenth (i < n / 16)
// and more-bits (the first and the last eighth, every third between). Refuses other names, and sets without layers.
Status expand_layer_sets(Recipe& recipe, std::int64_t layers);

// The weight settings a recipe gives tensor `name`; bits 16 means untouched.
WeightSpec weight_spec_for(const Recipe& recipe, const std::string& name);
GridSpec grid_spec(const WeightSpec& weights, DType stored);
RangeSpec range_spec(const WeightSpec& weights);
std::optional<ActivationSpec> activation_spec(const ActivationRecipe& activations);

}  // namespace vernier
