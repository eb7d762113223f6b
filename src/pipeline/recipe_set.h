// --set key=value: edits of a recipe's tree before it is read, so that both go through the same checks.
#pragma once

#include <string>
#include <vector>

#include "pipeline/recipe_tree.h"
#include "vernier/status.h"

namespace vernier {

// Brings the forms a method may be named in (`gptq`, `{gptq: {damp: 0.01}}`) to the map form, and `transforms` to a
// list.
Status normalize_methods(RecipeNode& recipe);

// Applies `sets` in order, `solver` and `transforms` before the rest, so that options of a method chosen here are
// known. A key may be shortened to its last parts when only one key, or only one of weights.*, ends like that.
Status apply_sets(RecipeNode& recipe, const std::vector<std::string>& sets);

}  // namespace vernier
