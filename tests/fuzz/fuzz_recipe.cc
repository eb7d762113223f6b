// Recipes from anyone: whatever the bytes, parse_recipe gives a recipe or an error, and a recipe survives its own YAML.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "vernier/recipe.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto recipe = vernier::parse_recipe(text, "fuzz");
  if (!recipe.ok()) return 0;
  const std::string yaml = recipe->yaml();
  const auto again = vernier::parse_recipe(yaml, "again");
  if (!again.ok() || again->yaml() != yaml) std::abort();
  return 0;
}
