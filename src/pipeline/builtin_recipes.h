#pragma once

#include <span>
#include <string_view>

namespace vernier {

struct BuiltinRecipe {
  std::string_view name, yaml;
};
std::span<const BuiltinRecipe> builtin_recipes();  // by name

}  // namespace vernier
