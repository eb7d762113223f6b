#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "base/random.h"
#include "support/support.h"
#include "vernier/format.h"

namespace vernier {
namespace {

TEST(IntFormat, NamesItself) {
  EXPECT_EQ((GridSpec{"int", 4, true, 128, DType::f16}).text(), "int4 sym g128 f16");
  EXPECT_EQ((GridSpec{"int", 3, false, 0, DType::bf16}).text(), "int3 asym channel bf16");
  EXPECT_EQ((GridSpec{"int", 8, true, -1, DType::f16}).text(), "int8 sym tensor f16");
}

TEST(IntFormat, RefusesSpecsItCannotHold) {
  const auto refused = [](GridSpec spec, std::string_view key) {
    auto grid = make_grid(spec);
    ASSERT_FALSE(grid.ok()) << spec.text();
    EXPECT_NE(grid.error().message.find(key), std::string::npos) << grid.error().text();
  };
  refused({"int", 1}, "bits");
  refused({"int", 9}, "bits");
  refused({"int", 4, true, -2}, "group");
  refused({"int", 4, true, 128, DType::f32}, "scale_dtype");
  refused({"int", 4, true, 128, DType::i8}, "scale_dtype");
}

TEST(IntFormat, FollowsTheConventionsOfScaleAndZero) {
  float p[2];
  make_grid({"int", 4, true, 128, DType::f16}).value()->params_from_range(-3.0f, 7.5f, p);
  EXPECT_EQ(p[0], 1.0f);  // 2 * 7.5 / 15
  EXPECT_EQ(p[1], 8.0f);
  make_grid({"int", 4, false, 128, DType::f16}).value()->params_from_range(-3.0f, 12.0f, p);
  EXPECT_EQ(p[0], 1.0f);  // 15 / 15
  EXPECT_EQ(p[1], 3.0f);
  make_grid({"int", 2, false, 64, DType::bf16}).value()->params_from_range(0.0f, 6.0f, p);
  EXPECT_EQ(p[0], 2.0f);
  EXPECT_EQ(p[1], 0.0f);
}

TEST(IntFormat, DividesAndRoundsHalfToEven) {
  const auto grid = make_grid({"int", 4, true, 128, DType::f16}).value();
  const float params[] = {1.0f, 8.0f};
  // 0.49999997 + 8 would round up to the tie 8.5 in float: codes must be chosen on signed values.
  const float w[] = {0.5f, 1.5f, 2.5f, -0.5f, -1.5f, 100.0f, -100.0f, 0.49999997f, 1.4999999f};
  const int wanted[] = {8, 10, 10, 8, 6, 15, 0, 8, 9};
  std::uint8_t codes[9];
  float decoded[9];
  grid->encode(w, params, codes, decoded);
  for (int i = 0; i < 9; ++i) EXPECT_EQ(codes[i], wanted[i]) << w[i];
  // 0.7 / 0.1 is 6.9999995 in float, 0.7 * (1 / 0.1) is 7: a group where the two ways differ on a tie.
  const float tie_params[] = {0.0999755859375f, 8.0f};
  for (int k = -7; k < 7; ++k) {
    const float tie = (static_cast<float>(k) + 0.5f) * tie_params[0];
    std::uint8_t code;
    float value;
    grid->encode({&tie, 1}, tie_params, {&code, 1}, {&value, 1});
    EXPECT_EQ(code, static_cast<int>(std::rint(tie / tie_params[0])) + 8);
  }
}

TEST(IntFormat, ErrsByAtMostHalfAStepInsideTheRange) {
  const Random random(9);
  for (int bits = 2; bits <= 8; ++bits)
    for (bool symmetric : {true, false}) {
      const auto grid = make_grid({"int", bits, symmetric, 64, DType::bf16}).value();
      std::vector<float> w(64), decoded(64), p(2);
      std::vector<std::uint8_t> codes(64);
      for (int trial = 0; trial < 50; ++trial) {
        for (int i = 0; i < 64; ++i) w[i] = random.normal(trial * 64 + i) + (trial % 5);
        const auto [low, high] = std::minmax_element(w.begin(), w.end());
        grid->params_from_range(std::min(*low, 0.0f), std::max(*high, 0.0f), p);
        grid->encode(w, p, codes, decoded);
        const float first = (0 - p[1]) * p[0], last = (static_cast<float>((1 << bits) - 1) - p[1]) * p[0];
        for (int i = 0; i < 64; ++i) {
          if (w[i] < first || w[i] > last) continue;
          EXPECT_LE(std::fabs(w[i] - decoded[i]), p[0] / 2 * 1.0001f);
        }
      }
    }
}

TEST(IntFormat, SizeFormula) {
  // bits + (16 + zero bits) / group where everything divides.
  EXPECT_DOUBLE_EQ(make_grid({"int", 4, true, 128}).value()->bits_per_weight(64, 1024), 4 + 16.0 / 128);
  EXPECT_DOUBLE_EQ(make_grid({"int", 3, false, 64}).value()->bits_per_weight(64, 1024), 3 + 19.0 / 64);
  EXPECT_DOUBLE_EQ(make_grid({"int", 8, true, 0}).value()->bits_per_weight(64, 1024), 8 + 16.0 / 1024);
}

// Wrong tensors are errors that name the tensor, never reads out of bounds.
TEST(IntFormat, OpenChecksWhatItIsGiven) {
  const GridSpec spec{"int", 4, false, 32};
  const FormatDescriptor* format = find_format("int").value();
  std::vector<Tensor> tensors;
  for (const StoredTensor& t : format->layout(spec, 4, 70, true)) tensors.emplace_back(t.dtype, t.shape);
  const auto open = [&](auto change) {
    std::vector<TensorView> views;
    for (const Tensor& t : tensors) views.push_back(t.view());
    change(views);
    auto matrix = format->open(spec, 4, 70, views);
    auto part = format->unpack(spec, 4, 70, views);
    EXPECT_EQ(matrix.ok(), part.ok());
    return matrix.ok() ? std::string() : matrix.error().message;
  };
  EXPECT_EQ(open([](auto&) {}), "");
  EXPECT_EQ(open([](auto& v) { v.pop_back(); }), "");  // without column groups
  EXPECT_NE(open([](auto& v) { v.resize(2); }), "");
  EXPECT_NE(open([](auto& v) { v[0].bytes = v[0].bytes.first(10); }).find("codes"), std::string::npos);
  EXPECT_NE(open([](auto& v) { v[1].dtype = DType::bf16; }).find("scale"), std::string::npos);
  EXPECT_NE(open([](auto& v) { v[2].shape = Shape{1, 2}; }).find("zero"), std::string::npos);
  for (std::int32_t bad : {-1, 3, 1 << 30}) {
    tensors[3].as<std::int32_t>()[69] = bad;
    EXPECT_NE(open([](auto&) {}).find("column 69"), std::string::npos);
  }
  tensors[3].as<std::int32_t>()[69] = 2;
  EXPECT_FALSE(format->open(spec, -4, 70, {}).ok());
  EXPECT_FALSE(format->open(spec, std::int64_t{1} << 62, std::int64_t{1} << 62, {}).ok());
  tensors[1].as<std::uint16_t>()[5] = 0x7C00;  // infinity
  std::vector<TensorView> views;
  for (const Tensor& t : tensors) views.push_back(t.view());
  EXPECT_FALSE(format->unpack(spec, 4, 70, views).ok());
}

// Bytes in a file need not be aligned.
TEST(IntFormat, ReadsUnalignedTensors) {
  const GridSpec spec{"int", 5, false, 32};
  const FormatDescriptor* format = find_format("int").value();
  const auto grid = make_grid(spec).value();
  GridPart part{.grid = grid, .rows = 2, .cols = 40};
  part.codes.resize(80);
  for (int i = 0; i < 80; ++i) part.codes[i] = static_cast<std::uint8_t>(i % 32);
  part.params = {0.5f, 3, 0.25f, 30, 1, 0, 2, 31};
  part.group_of_column.assign(40, 0);
  part.group_of_column[7] = 1;
  const auto tensors = format->pack(part);
  std::vector<std::vector<std::byte>> shifted;
  std::vector<TensorView> views;
  for (const Tensor& t : tensors) {
    shifted.emplace_back(t.bytes().size() + 1);
    std::memcpy(shifted.back().data() + 1, t.bytes().data(), t.bytes().size());
  }
  for (std::size_t i = 0; i < tensors.size(); ++i)
    views.push_back({tensors[i].dtype(), tensors[i].shape(), std::span(shifted[i]).subspan(1)});
  std::vector<float> wanted(80), found(80);
  part.decode_rows(0, 2, wanted.data());
  auto matrix = format->open(spec, 2, 40, views);
  VN_ASSERT_OK(matrix);
  (*matrix)->decode_rows(0, 2, found.data());
  EXPECT_EQ(wanted, found);
}

}  // namespace
}  // namespace vernier
