// Rounds one group of weights on a 4-bit grid through the public headers.
#include <vernier/format.h>
#include <vernier/recipe.h>
#include <vernier/tokenizer.h>
#include <vernier/version.h>

#include <cmath>
#include <cstdio>
#include <vector>

int main() {
  vernier::GridSpec spec;
  spec.group = 4;
  auto grid = vernier::make_grid(spec);
  if (!grid.ok()) return std::puts(grid.error().text().c_str()), 1;
  const std::vector<float> weights{-1, -0.5, 0.25, 1};
  std::vector<float> params((*grid)->params_per_group()), decoded(4);
  std::vector<std::uint8_t> codes(4);
  (*grid)->params_from_range(-1, 1, params);
  (*grid)->encode(weights, params, codes, decoded);
  for (int i = 0; i < 4; ++i) {
    if (std::abs(decoded[i] - weights[i]) > 0.15f) return std::printf("%g became %g\n", weights[i], decoded[i]), 1;
  }
  auto wrong = vernier::load_recipe("no-such-recipe", {});
  if (wrong.ok()) return std::puts("a recipe that does not exist was loaded"), 1;
  std::printf("vernier %s: %s\n", std::string(vernier::version()).c_str(), spec.text().c_str());
}
