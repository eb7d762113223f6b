#include <gtest/gtest.h>

#include <vector>

#include "formats/int/grid.h"
#include "support/support.h"
#include "vernier/format.h"

namespace vernier {
namespace {

GridSpec spec() { return {"ternary", 2, true, 32, DType::f16}; }

TEST(Ternary, RoundsToThreeValues) {
  const auto grid = make_grid(spec()).value();
  std::vector<float> params(grid->params_per_group());
  grid->params_from_range(-0.5f, 0.25f, params);
  EXPECT_EQ(params[int_scale], 0.5f);  // the largest magnitude is a value of the grid
  const std::vector<float> values{-9, -0.3f, -0.2f, 0, 0.2f, 0.3f, 9};
  std::vector<std::uint8_t> codes(values.size());
  std::vector<float> decoded(values.size()), again(values.size());
  grid->encode(values, params, codes, decoded);
  EXPECT_EQ(decoded, (std::vector<float>{-0.5f, -0.5f, 0, 0, 0, 0.5f, 0.5f}));
  EXPECT_EQ(codes, (std::vector<std::uint8_t>{1, 1, 2, 2, 2, 3, 3}));
  grid->decode(codes, params, again);
  EXPECT_EQ(again, decoded);
}

TEST(Ternary, RefusesOtherWidthsAndZeroPoints) {
  GridSpec bad = spec();
  bad.bits = 3;
  EXPECT_NE(make_grid(bad).error().text().find("bits must be 2"), std::string::npos);
  bad = spec();
  bad.symmetric = false;
  EXPECT_NE(make_grid(bad).error().text().find("symmetric must be true"), std::string::npos);
}

}  // namespace
}  // namespace vernier
