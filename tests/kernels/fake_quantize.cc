#include "formats/minifloat/codec.h"
#include "kernels/fixtures.h"
#include "kernels/ops.h"

namespace vernier::kernels {
namespace {

using testing::normal;
using testing::Owned;

// The definition, a value at a time, with the library's rounding.
float quantized(float x, float scale, float zero, float lowest, float highest) {
  const float code = std::min(std::max(std::nearbyint(x / scale + zero), lowest), highest);
  return (code - zero) * scale;
}

Owned fake(Owned x, const ActivationSpec& spec) {
  fake_quantize(x.matrix(), spec);
  return x;
}

TEST(FakeQuantize, SymmetricPerTokenNarrowAndFullRange) {
  const Owned x = normal(6, 101, 1);
  for (int bits : {4, 8}) {
    for (bool full : {false, true}) {
      const Owned y = fake(x, {.bits = bits, .full_range = full});
      for (std::int64_t r = 0; r < x.rows; ++r) {
        float absmax = 0;
        for (std::int64_t c = 0; c < x.cols; ++c) absmax = std::max(absmax, std::fabs(x(r, c)));
        const float top = std::ldexp(1.0f, bits - 1) - 1, levels = std::ldexp(1.0f, bits) - 1;
        const float scale = full ? 2 * absmax / levels : absmax / top;
        for (std::int64_t c = 0; c < x.cols; ++c)
          ASSERT_EQ(y(r, c), quantized(x(r, c), scale, 0, full ? -top - 1 : -top, top));
      }
    }
  }
}

TEST(FakeQuantize, AsymmetricPerTokenKeepsZeroExact) {
  Owned x = normal(6, 64, 2);
  for (float& v : x.data) v += 2;
  x.matrix()(0, 5) = 0;
  const Owned y = fake(x, {.bits = 8, .symmetric = false});
  for (std::int64_t r = 0; r < x.rows; ++r) {
    float low = 0, high = 0;
    for (std::int64_t c = 0; c < x.cols; ++c) {
      low = std::min(low, x(r, c));
      high = std::max(high, x(r, c));
    }
    const float scale = (high - low) / 255;
    const float zero = std::nearbyint(-low / scale);
    for (std::int64_t c = 0; c < x.cols; ++c) ASSERT_EQ(y(r, c), quantized(x(r, c), scale, zero, 0, 255));
  }
  EXPECT_EQ(y(0, 5), 0);
}

TEST(FakeQuantize, FloatsPerTokenAndPerGroupOfColumns) {
  const Owned x = normal(4, 70, 5);  // the last group of 32 has 6 columns
  for (const int group : {0, 32}) {
    const Owned y = fake(x, {.group = group, .floating = true});
    const std::int64_t width = group > 0 ? group : x.cols;
    for (std::int64_t r = 0; r < x.rows; ++r)
      for (std::int64_t c = 0; c < x.cols; ++c) {
        const std::int64_t first = c / width * width, last = std::min(first + width, x.cols);
        float absmax = 0;
        for (std::int64_t i = first; i < last; ++i) absmax = std::max(absmax, std::fabs(x(r, i)));
        const float scale = absmax / 448;
        ASSERT_EQ(y(r, c), E4M3::values[E4M3::encode(x(r, c) / scale)] * scale);
      }
  }
  const Owned fixed = fake(x, {.dynamic = false, .per_token = false, .floating = true, .scale = 0.001f});
  for (std::size_t i = 0; i < x.data.size(); ++i) ASSERT_LE(std::fabs(fixed.data[i]), 448 * 0.001f);  // clipped
}

TEST(FakeQuantize, PerTensorTakesTheWidestRow) {
  Owned x = normal(5, 40, 3);
  x.matrix()(3, 7) = -50;
  const Owned y = fake(x, {.bits = 8, .per_token = false});
  for (std::size_t i = 0; i < x.data.size(); ++i) ASSERT_EQ(y.data[i], quantized(x.data[i], 50.0f / 127, 0, -127, 127));
}

TEST(FakeQuantize, StaticClampsAndRoundsTiesToEven) {
  Owned x(1, 7);
  x.data = {0.25f, 0.75f, 1.25f, -0.25f, 1000, -1000, 0.1f};
  Owned y = fake(x, {.bits = 4, .dynamic = false, .scale = 0.5f});
  EXPECT_EQ(y.data, (std::vector<float>{0, 1, 1, 0, 3.5f, -3.5f, 0}));
  y = fake(x, {.bits = 4, .dynamic = false, .full_range = true, .scale = 0.5f});
  EXPECT_EQ(y.data[5], -4.0f);
  // The zero point is added before rounding: 0.5 + 3 rounds to 4, 1.5 + 3 to 4, 2.5 + 3 to 6.
  y = fake(x, {.bits = 4, .symmetric = false, .dynamic = false, .scale = 0.5f, .zero = 3});
  EXPECT_EQ(y.data, (std::vector<float>{0.5f, 0.5f, 1.5f, -0.5f, 6, -1.5f, 0}));
}

TEST(FakeQuantize, LeavesZerosAlone) {
  const Owned zeros(3, 10);
  for (bool symmetric : {false, true}) {
    for (bool per_token : {false, true})
      EXPECT_TRUE(same_bits(fake(zeros, {.symmetric = symmetric, .per_token = per_token}), zeros));
  }
}

TEST(FakeQuantize, SameBitsAtAnyThreadCount) {
  const Owned x = normal(300, 500, 4);
  for (bool per_token : {false, true})
    testing::expect_same_at_any_thread_count([&] { return fake(x, {.symmetric = false, .per_token = per_token}); });
}

}  // namespace
}  // namespace vernier::kernels
