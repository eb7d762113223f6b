// Values that are no numbers, in every stored type.
#include "tensor/finite.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tensor/convert.h"

namespace vernier {
namespace {

constexpr std::int64_t kCount = 1000;

TEST(FirstNotFinite, InEveryTypeAtAnyAlignment) {
  for (const DType dtype : {DType::f16, DType::bf16, DType::f32, DType::f64}) {
    for (const float bad : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                            std::numeric_limits<float>::quiet_NaN()}) {
      // The largest halves are finite, of either sign.
      std::vector<float> values(kCount, -65504.0f);
      for (std::int64_t i = 0; i < kCount; i += 3) values[i] = 65504.0f;
      std::vector<std::byte> bytes(1 + kCount * size_bytes(dtype));
      const std::span<std::byte> stored = std::span(bytes).subspan(1);
      const TensorView view{dtype, Shape{kCount}, stored};
      from_float(values, dtype, stored);
      EXPECT_EQ(first_not_finite(view, 0, kCount), -1) << name(dtype);
      values[123] = values[700] = bad;
      from_float(values, dtype, stored);
      EXPECT_EQ(first_not_finite(view, 0, kCount), 123) << name(dtype) << " " << bad;
      EXPECT_EQ(first_not_finite(view, 100, 24), 23) << name(dtype) << " " << bad;
      EXPECT_EQ(first_not_finite(view, 124, 576), -1) << name(dtype) << " " << bad;
      EXPECT_EQ(first_not_finite(view, 124, 577), 576) << name(dtype) << " " << bad;
    }
  }
}

}  // namespace
}  // namespace vernier
