// Codes on another layout decode to the same values, bit for bit.
#include "formats/spread.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "formats/gguf/twins.h"
#include "formats/range.h"

namespace vernier {
namespace {

constexpr std::int64_t rows = 3, cols = 256;

// Random weights rounded on `spec`.
GridPart part_on(const GridSpec& spec) {
  GridPart part{.grid = make_grid(spec).value(), .rows = rows, .cols = cols};
  part.codes.resize(rows * cols);
  const std::int64_t groups = part.groups(), width = part.grid->group_columns(cols);
  part.params.resize((spec.group == -1 ? 1 : rows * groups) * part.grid->params_per_group());
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  std::vector<float> values(width), decoded(width);
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t g = 0; g < groups; ++g) {
      for (float& v : values) v = normal(random) + 0.2f;
      float* const params =
          part.params.data() + (spec.group == -1 ? 0 : (r * groups + g) * part.grid->params_per_group());
      if (spec.group != -1 || r == 0)
        part.grid->params_from_range(-3, 3 + static_cast<float>(g),
                                     {params, std::size_t(part.grid->params_per_group())});
      part.grid->encode(values, part.params_of(r, g), {part.codes.data() + r * cols + g * width, std::size_t(width)},
                        decoded);
    }
  return part;
}

std::vector<float> decoded(const GridPart& part) {
  std::vector<float> values(part.rows * part.cols);
  part.decode_rows(0, part.rows, values.data());
  return values;
}

void expect_same_values(const GridSpec& from, const GridSpec& to) {
  SCOPED_TRACE(from.text() + " on " + to.text());
  ASSERT_TRUE(may_spread(from, to, cols));
  const GridPart part = part_on(from);
  const auto made = spread(part, to);
  ASSERT_TRUE(made.has_value());
  EXPECT_EQ(made->grid->spec(), to);
  const std::vector<float> a = decoded(part), b = decoded(*made);
  EXPECT_EQ(std::memcmp(a.data(), b.data(), a.size() * sizeof(float)), 0);
}

GridSpec integers(int bits, bool symmetric, std::int64_t group, DType scale = DType::f16) {
  return {"int", bits, symmetric, group, scale};
}

TEST(Spread, KeepsValuesOnFinerGroups) {
  for (const std::int64_t group : {32, 64, 128, 0, -1})
    for (const int bits : {4, 8}) {
      expect_same_values(integers(bits, true, group), integers(bits, true, 32));
      expect_same_values(integers(bits, false, group), integers(bits, false, 32));
      expect_same_values(integers(bits, true, group), integers(bits, false, 32));  // the zero point is written out
      expect_same_values(integers(bits, true, group, DType::bf16), integers(bits, true, 32));
      expect_same_values(integers(bits, true, group), *find_format(bits == 4 ? "q4_0" : "q8_0").value()->fixed);
    }
}

TEST(Spread, TakesBlocksAsTheirIntegers) {
  for (const char* name : {"q4_0", "q5_0", "q8_0"}) {
    const GridSpec blocks = *find_format(name).value()->fixed;
    expect_same_values(blocks, *twin_of(blocks));
    EXPECT_EQ(twin_of(*twin_of(blocks)), blocks);
    const GridPart part = part_on(blocks);
    const GridPart back = as_twin(as_twin(part));
    EXPECT_EQ(back.codes, part.codes);
    EXPECT_EQ(back.params, part.params);
  }
  for (const char* name : {"q4_1", "q4_k", "iq4_nl", "mxfp4"})
    EXPECT_FALSE(twin_of(*find_format(name).value()->fixed).has_value()) << name;
}

TEST(Spread, RefusesCoarserGroupsOtherBitsAndLostZeroPoints) {
  EXPECT_FALSE(may_spread(integers(4, true, 32), integers(4, true, 64), cols));
  EXPECT_FALSE(may_spread(integers(4, true, 48), integers(4, true, 32), cols));
  EXPECT_FALSE(may_spread(integers(4, true, 64), integers(8, true, 32), cols));
  EXPECT_FALSE(may_spread(integers(4, false, 64), integers(4, true, 32), cols));
  EXPECT_FALSE(may_spread(integers(4, true, 32), integers(4, true, -1), cols));
  EXPECT_FALSE(may_spread(*find_format("q4_k").value()->fixed, integers(4, false, 32), cols));
}

TEST(Spread, FindsScalesThatTheOtherTypeDoesNotHold) {
  GridPart part = part_on(integers(4, true, 64, DType::f16));
  part.params[0] = 0x1.004p-3f;  // a half, no bfloat16
  EXPECT_FALSE(spread(part, integers(4, true, 32, DType::bf16)).has_value());
  part = part_on(integers(4, true, 64, DType::bf16));
  part.params[0] = 0x1p-40f;  // a bfloat16, no half
  EXPECT_FALSE(spread(part, integers(4, true, 32, DType::f16)).has_value());
}

}  // namespace
}  // namespace vernier
