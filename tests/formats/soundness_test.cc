// Which codes a grid has, and how scales that are no numbers are found.
#include "formats/soundness.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/random.h"
#include "support/support.h"

namespace vernier {
namespace {

std::vector<std::uint8_t> left_out(const GridSpec& spec) {
  const auto grid = make_grid(spec);
  EXPECT_TRUE(grid.ok());
  const AllowedCodes allowed(**grid);
  return {allowed.left_out().begin(), allowed.left_out().end()};
}

TEST(AllowedCodes, LeavesOutWhatNoValueRoundsTo) {
  using Codes = std::vector<std::uint8_t>;
  EXPECT_EQ(left_out({"ternary", 2, true, 0, DType::bf16}), Codes{0});
  EXPECT_EQ(left_out({"fp8", 8, true, 0, DType::bf16}), (Codes{0x7F, 0xFF}));
  EXPECT_EQ(left_out(*find_format("tq2_0").value()->fixed), Codes{3});
  for (const char* name : {"q4_0", "q8_0", "q2_k", "q6_k", "q4_k", "iq4_nl", "iq4_xs", "mxfp4", "nvfp4"})
    EXPECT_EQ(left_out(*find_format(name).value()->fixed), Codes{}) << name;
  for (int bits = 2; bits <= 8; ++bits)
    for (const bool symmetric : {true, false})
      EXPECT_EQ(left_out({"int", bits, symmetric, 32, DType::f16}), Codes{}) << bits;
  for (int bits = 2; bits <= 4; ++bits) EXPECT_EQ(left_out({"dual", bits, false, 32, DType::f32}), Codes{}) << bits;
}

TEST(AllowedCodes, FindsTheFirst) {
  const AllowedCodes ternary(**make_grid({"ternary", 2, true, 0, DType::bf16}));
  std::vector<std::uint8_t> codes(1000, 1);
  EXPECT_EQ(ternary.first_left_out(codes), -1);
  codes[700] = codes[77] = 0;
  EXPECT_EQ(ternary.first_left_out(codes), 77);
  EXPECT_EQ(AllowedCodes().first_left_out(codes), -1);
}

// What every format packs is sound, whatever the weights.
TEST(FindUnsound, PassesWhatFormatsPack) {
  const Random random(3);
  for (const FormatDescriptor* format : formats()) {
    GridSpec spec = format->fixed.value_or(GridSpec{std::string(format->name), 4, true, 32, DType::f32});
    if (format->name == "int") spec.scale_dtype = DType::bf16;
    if (format->name == "ternary") spec = {"ternary", 2, true, 32, DType::f16};
    if (format->name == "fp8") spec.bits = 8;
    const auto grid = make_grid(spec);
    VN_ASSERT_OK(grid);
    GridPart part{.grid = *grid, .rows = 5, .cols = 256};
    const std::int64_t groups = part.groups(), count = (*grid)->params_per_group(), width = part.cols / groups;
    part.params.resize(part.rows * groups * count);
    part.codes.resize(part.rows * part.cols);
    for (std::int64_t r = 0; r < part.rows; ++r) {
      const std::span<float> row = std::span(part.params).subspan(r * groups * count, groups * count);
      for (std::int64_t g = 0; g < groups; ++g)
        (*grid)->params_from_range(r == 2 ? 0.0f : -1.0f, r == 2 ? 0.0f : 1.5f, row.subspan(g * count, count));
      (*grid)->settle_row(row);
    }
    if ((*grid)->joint_rows() != 1) (*grid)->settle_rows(part.rows, part.params);
    for (std::int64_t r = 0; r < part.rows; ++r)
      for (std::int64_t g = 0; g < groups; ++g) {
        std::vector<float> values(width), decoded(width);
        for (std::int64_t i = 0; i < width; ++i)
          values[i] = r == 2 ? 0.0f : random.normal(r * part.cols + g * width + i);
        (*grid)->encode(values, part.params_of(r, g), std::span(part.codes).subspan(r * part.cols + g * width, width),
                        decoded);
      }
    const std::vector<Tensor> packed = format->pack(part);
    std::vector<TensorView> views;
    for (const Tensor& tensor : packed) views.push_back(tensor.view());
    const auto matrix = format->open(spec, part.rows, part.cols, views);
    VN_ASSERT_OK(matrix);
    const auto bad = find_unsound(**matrix, 0, part.rows, AllowedCodes(**grid));
    EXPECT_FALSE(bad) << format->name << ": " << bad->what << " " << bad->found;
  }
}

TEST(FindUnsound, NamesScalesAndCodes) {
  const GridSpec spec{"ternary", 2, true, 32, DType::f16};
  const FormatDescriptor* format = *find_format("ternary");
  GridPart part{.grid = *make_grid(spec), .rows = 3, .cols = 64};
  part.codes.assign(part.rows * part.cols, 2);
  for (int i = 0; i < 6; ++i) part.params.insert(part.params.end(), {0.5f, 2.0f});
  const AllowedCodes allowed(*part.grid);
  const auto found = [&](const GridPart& given) {
    const std::vector<Tensor> packed = format->pack(given);
    const std::vector<TensorView> views{packed[0].view(), packed[1].view()};
    const auto matrix = format->open(spec, given.rows, given.cols, views);
    const auto bad = find_unsound(**matrix, 0, given.rows, allowed);
    return bad ? bad->what + ": " + bad->found : std::string();
  };
  EXPECT_EQ(found(part), "");
  GridPart changed = part;
  changed.codes[64 + 40] = 0;
  EXPECT_EQ(found(changed), "code of row 1, column 40: 0");
  for (const float scale : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), 0.0f}) {
    changed = part;
    changed.params[2 * 5] = scale;
    EXPECT_EQ(found(changed), "scale of row 2, group 1: " + std::string(std::isnan(scale) ? "nan"
                                                                        : scale > 0       ? "inf"
                                                                                          : "0"));
  }
}

TEST(UnsoundScale, KeepsItsRule) {
  const auto bad = [](float scale, ScaleRule rule) { return unsound_scale({&scale, 1}, rule, 0).has_value(); };
  EXPECT_FALSE(bad(-1, ScaleRule::finite));
  EXPECT_FALSE(bad(-1, ScaleRule::not_zero));
  EXPECT_TRUE(bad(0, ScaleRule::not_zero));
  EXPECT_TRUE(bad(-1, ScaleRule::not_negative));
  EXPECT_FALSE(bad(0, ScaleRule::not_negative));
  EXPECT_TRUE(bad(0, ScaleRule::positive));
  for (const ScaleRule rule : {ScaleRule::finite, ScaleRule::not_zero, ScaleRule::not_negative, ScaleRule::positive})
    EXPECT_TRUE(bad(std::numeric_limits<float>::infinity(), rule));
}

}  // namespace
}  // namespace vernier
