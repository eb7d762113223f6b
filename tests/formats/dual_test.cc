#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/random.h"
#include "formats/dual/grid.h"
#include "support/support.h"

namespace vernier {
namespace {

GridSpec dual(int bits, bool symmetric = false, std::int64_t group = 32) {
  return {"dual", bits, symmetric, group, DType::f32};
}

TEST(DualFormat, RefusesSpecsItCannotHold) {
  const auto refused = [](GridSpec spec, std::string_view key) {
    auto grid = make_grid(spec);
    ASSERT_FALSE(grid.ok()) << spec.text();
    EXPECT_NE(grid.error().message.find(key), std::string::npos) << grid.error().text();
  };
  refused(dual(1), "bits");
  refused(dual(5), "bits");
  refused(dual(4, true, 0), "channel");
  refused(dual(4, true, -1), "tensor");
  refused({"dual", 4, true, 128, DType::f16}, "scale_dtype");
  EXPECT_EQ(dual(4, false, 128).text(), "dual4 asym g128 f32");
}

// Everything the grid admits: the unsigned operand fine * code fits a byte, and so does fine * zero.
TEST(DualFormat, NeverOverflowsAByte) {
  for (int bits : {2, 3, 4}) {
    int largest = 0;
    for (int fine = 1; fine <= dual_fine_max(bits); ++fine)
      for (int code = 0; code < 1 << bits; ++code) largest = std::max(largest, fine * code);
    EXPECT_LE(largest, 255);
    if (bits != 4) {
      EXPECT_GT((dual_fine_max(bits) + 1) * dual_levels(bits), 255) << "no scale is wasted";
    }
    EXPECT_LT(dual_fine_max(bits), 1 << dual_fine_bits(bits));
  }
  EXPECT_EQ(dual_fine_max(4), 15);
  EXPECT_EQ(dual_fine_max(3), 36);
  EXPECT_EQ(dual_fine_max(2), 85);
}

// Whatever ranges the groups of a row have, and whatever ratio: integers within bounds, one coarse scale.
TEST(DualFormat, SettlesAnyRowOnOneCoarseScale) {
  const Random random(5);
  const std::int64_t groups = 9;
  for (int bits : {2, 3, 4})
    for (bool symmetric : {true, false})
      for (float ratio : {0.2f, 0.9f, 1.0f, 1.3f, 40.0f})
        for (int trial = 0; trial < 50; ++trial) {
          const auto grid = make_grid(dual(bits, symmetric)).value();
          std::vector<float> params(groups * dual_params);
          float largest = 0;
          for (std::int64_t g = 0; g < groups; ++g) {
            const float size = std::exp(4 * random.normal(trial * 100 + 2 * g));
            const std::span<float> p(params.data() + g * dual_params, dual_params);
            grid->params_from_range(-size * 0.3f, g == 3 ? 0.0f : size, p);
            EXPECT_EQ(p[dual_fine], static_cast<float>(dual_fine_max(bits)));
            largest = std::max(largest, p[dual_coarse] * p[dual_fine]);
          }
          const std::vector<float> alone = params;
          grid->settle_row(params, ratio);
          for (std::int64_t g = 0; g < groups; ++g) {
            const float* const p = params.data() + g * dual_params;
            EXPECT_FLOAT_EQ(p[dual_coarse], ratio * largest / static_cast<float>(dual_fine_max(bits)));
            EXPECT_EQ(p[dual_coarse], params[dual_coarse]);
            EXPECT_EQ(p[dual_fine], std::rint(p[dual_fine]));
            EXPECT_GE(p[dual_fine], 1);
            EXPECT_LE(p[dual_fine], static_cast<float>(dual_fine_max(bits)));
            EXPECT_EQ(p[dual_zero], alone[g * dual_params + dual_zero]);
            const float step = alone[g * dual_params + dual_coarse] * alone[g * dual_params + dual_fine];
            if (ratio < 1 || step <= p[dual_coarse]) continue;
            EXPECT_LE(std::fabs(p[dual_coarse] * p[dual_fine] - step), p[dual_coarse] * 0.5001f);
          }
        }
}

// A group of zeros neither widens the others' coarse scale nor decodes to anything else.
TEST(DualFormat, IgnoresEmptyGroupsAndEmptyRows) {
  const auto grid = make_grid(dual(4)).value();
  std::vector<float> params(2 * dual_params);
  const std::span<float> first(params.data(), dual_params), second(params.data() + dual_params, dual_params);
  grid->params_from_range(0, 0, first);
  grid->params_from_range(-1e-3f, 2e-3f, second);
  grid->settle_row(params);
  EXPECT_FLOAT_EQ(second[dual_coarse] * second[dual_fine], 3e-3f / 15);
  const float zero = 0;
  std::uint8_t code;
  float decoded;
  grid->encode({&zero, 1}, first, {&code, 1}, {&decoded, 1});
  EXPECT_EQ(decoded, 0.0f);
  grid->params_from_range(0, 0, second);
  grid->settle_row(params);
  grid->encode({&zero, 1}, second, {&code, 1}, {&decoded, 1});
  EXPECT_EQ(decoded, 0.0f);
}

// The value is the exact integer fine * (code - zero), rounded once by the coarse scale: what integer kernels compute.
TEST(DualFormat, DecodesAnIntegerTimesTheCoarseScale) {
  for (int bits : {2, 3, 4}) {
    const auto grid = make_grid(dual(bits)).value();
    for (int fine = 1; fine <= dual_fine_max(bits); ++fine)
      for (int zero = 0; zero < 1 << bits; ++zero) {
        const float params[] = {0.1f, static_cast<float>(fine), static_cast<float>(zero)};
        for (int q = 0; q < 1 << bits; ++q) {
          const auto code = static_cast<std::uint8_t>(q);
          float value;
          grid->decode({&code, 1}, params, {&value, 1});
          EXPECT_EQ(value, 0.1f * static_cast<float>(fine * q - fine * zero));
          std::uint8_t again;
          float same;
          grid->encode({&value, 1}, params, {&again, 1}, {&same, 1});
          EXPECT_EQ(again, code);
          EXPECT_EQ(same, value);
        }
      }
  }
}

TEST(DualFormat, SizeFormula) {
  const auto bits = [](GridSpec spec) { return make_grid(spec).value()->bits_per_weight(64, 1024); };
  EXPECT_DOUBLE_EQ(bits(dual(4, false, 128)), 4 + 8.0 / 128 + 32.0 / 1024);
  EXPECT_DOUBLE_EQ(bits(dual(4, true, 128)), 4 + 4.0 / 128 + 32.0 / 1024);
  EXPECT_DOUBLE_EQ(bits(dual(3, false, 64)), 3 + 9.0 / 64 + 32.0 / 1024);
  EXPECT_DOUBLE_EQ(bits(dual(2, false, 64)), 2 + (7.0 + 2) / 64 + 32.0 / 1024);
}

// Wrong tensors are errors that name the tensor, never reads out of bounds or scales that overflow.
TEST(DualFormat, OpenChecksWhatItIsGiven) {
  const GridSpec spec = dual(3);
  const FormatDescriptor* format = find_format("dual").value();
  GridPart part{.grid = make_grid(spec).value(), .rows = 4, .cols = 70};
  part.codes.assign(4 * 70, 5);
  for (int i = 0; i < 4 * 3; ++i) part.params.insert(part.params.end(), {0.5f, 36, 3});
  part.group_of_column.assign(70, 2);
  std::vector<Tensor> tensors = format->pack(part);
  const auto open = [&](auto change) {
    std::vector<TensorView> views;
    for (const Tensor& t : tensors) views.push_back(t.view());
    change(views);
    auto matrix = format->open(spec, 4, 70, views);
    auto unpacked = format->unpack(spec, 4, 70, views);
    EXPECT_EQ(matrix.ok(), unpacked.ok());
    return matrix.ok() ? std::string() : matrix.error().message;
  };
  EXPECT_EQ(open([](auto&) {}), "");
  EXPECT_EQ(open([](auto& v) { v.pop_back(); }), "");  // without column groups
  EXPECT_NE(open([](auto& v) { v.resize(3); }), "");
  EXPECT_NE(open([](auto& v) { v[0].bytes = v[0].bytes.first(10); }).find("codes"), std::string::npos);
  EXPECT_NE(open([](auto& v) { v[1].shape = Shape{1, 2}; }).find("fine"), std::string::npos);
  EXPECT_NE(open([](auto& v) { v[2].dtype = DType::i8; }).find("zero"), std::string::npos);
  EXPECT_NE(open([](auto& v) { v[3].dtype = DType::f16; }).find("coarse"), std::string::npos);
  tensors[4].as<std::int32_t>()[69] = 3;
  EXPECT_NE(open([](auto&) {}).find("column 69"), std::string::npos);
  tensors[4].as<std::int32_t>()[69] = 0;
  for (const float bad : {std::nanf(""), INFINITY, -1.0f, 1e37f}) {
    tensors[3].as<float>()[2] = bad;
    EXPECT_NE(open([](auto&) {}).find("'coarse': row 2"), std::string::npos) << bad;
  }
  tensors[3].as<float>()[2] = 1;
  for (const int bad : {0, 37, 63}) {  // the first six bits of row 1
    auto fine = tensors[1].as<std::uint8_t>();
    fine[3] = static_cast<std::uint8_t>((fine[3] & 0xC0) | bad);
    EXPECT_NE(open([](auto&) {}).find("'fine': row 1, group 0"), std::string::npos) << bad;
  }
}

}  // namespace
}  // namespace vernier
