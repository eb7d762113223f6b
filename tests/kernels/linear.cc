#include <memory>

#include "base/cpu.h"
#include "kernels/dot/dot.h"
#include "kernels/fixtures.h"
#include "kernels/ops.h"
#include "kernels/reference.h"
#include "tensor/convert.h"

namespace vernier::kernels {
namespace {

using testing::normal;
using testing::Owned;

std::shared_ptr<const WeightMatrix> weight(const Owned& w, DType dtype) {
  Tensor tensor(dtype, {w.rows, w.cols});
  from_float(w.data, dtype, tensor.bytes());
  return dense_matrix(std::move(tensor));
}

TEST(Linear, MatchesTheReferenceAtOddShapes) {
  struct Case {
    std::int64_t tokens, rows, cols;
  };
  // Few and many tokens, tails of tiles in both directions, more than one tile of tokens, one tile of few rows.
  const Case cases[] = {{1, 1, 1},    {1, 300, 77},   {7, 513, 64},  {8, 130, 96},
                        {33, 257, 1}, {40, 1100, 50}, {530, 20, 40}, {1100, 140, 30}};
  std::uint64_t seed = 10;
  for (const Case& c : cases) {
    SCOPED_TRACE(::testing::Message() << c.tokens << " tokens, " << c.rows << " x " << c.cols);
    const Owned x = normal(c.tokens, c.cols, ++seed), w = normal(c.rows, c.cols, ++seed), b = normal(1, c.rows, ++seed);
    for (DType dtype : {DType::f32, DType::bf16}) {
      for (std::span<const float> bias : {std::span<const float>(b.data), std::span<const float>()}) {
        const auto matrix = weight(w, dtype);
        Owned wanted(c.tokens, c.rows), found(c.tokens, c.rows);
        reference::linear(x.matrix(), *matrix, bias, wanted.matrix());
        linear(x.matrix(), *matrix, bias, found.matrix());
        testing::expect_near(found, wanted, 2e-5);
      }
    }
  }
}

TEST(Linear, TakesNoTokens) {
  const auto matrix = weight(normal(5, 4, 1), DType::f32);
  linear(Matrix<const float>(nullptr, 0, 4), *matrix, {}, Matrix<float>(nullptr, 0, 5));
}

TEST(Linear, SameBitsAtAnyThreadCount) {
  const auto matrix = weight(normal(1300, 200, 1), DType::bf16);
  for (std::int64_t tokens : {1, 5, 70, 1100}) {
    const Owned x = normal(tokens, 200, 2);
    testing::expect_same_at_any_thread_count([&] {
      Owned y(tokens, 1300);
      linear(x.matrix(), *matrix, {}, y.matrix());
      return y;
    });
  }
}

// A row's result barely moves with the company it is in: chunked prefill equals one piece.
TEST(Linear, RowsDoNotDependOnTheOtherRows) {
  const auto matrix = weight(normal(300, 500, 1, 0.05f), DType::f32);
  const Owned x = normal(600, 500, 2);
  Owned whole(600, 300), pieces(600, 300);
  linear(x.matrix(), *matrix, {}, whole.matrix());
  for (std::int64_t first = 0; first < 600; first += 100)
    linear(x.matrix().rows_slice(first, 100), *matrix, {}, pieces.matrix().rows_slice(first, 100));
  testing::expect_near(pieces, whole, 2e-6);
}

// Restores f32 whatever a test does.
struct InBf16 {
  const bool available = set_compute(DType::bf16);
  ~InBf16() { set_compute(DType::f32); }
};

TEST(LinearBf16, MultipliesRoundedOperandsExactly) {
  InBf16 mode;
  if (!mode.available) GTEST_SKIP() << "this CPU does not multiply bf16";
  EXPECT_EQ(compute(), DType::bf16);
  for (std::int64_t tokens : {8, 33, 600}) {
    Owned x = normal(tokens, 75, 1), w = normal(310, 75, 2), found(tokens, 310), wanted(tokens, 310);
    const Owned bias = normal(1, 310, 3);
    const auto matrix = weight(w, DType::f32);
    linear(x.matrix(), *matrix, bias.data, found.matrix());
    for (float& v : x.data) v = round_to(DType::bf16, v);
    reference::linear(x.matrix(), *weight(w, DType::bf16), bias.data, wanted.matrix());
    testing::expect_near(found, wanted, 2e-5);
  }
}

TEST(LinearBf16, LeavesFewTokensInFloat) {
  InBf16 mode;
  const auto matrix = weight(normal(40, 64, 1), DType::f32);
  const Owned x = normal(7, 64, 2);
  Owned in_bf16(7, 40), in_f32(7, 40);
  linear(x.matrix(), *matrix, {}, in_bf16.matrix());
  set_compute(DType::f32);
  linear(x.matrix(), *matrix, {}, in_f32.matrix());
  EXPECT_TRUE(same_bits(in_bf16, in_f32));
}

TEST(LinearBf16, SameBitsAtAnyThreadCount) {
  InBf16 mode;
  const auto matrix = weight(normal(1300, 96, 1), DType::bf16);
  const Owned x = normal(700, 96, 2);
  testing::expect_same_at_any_thread_count([&] {
    Owned y(700, 1300);
    linear(x.matrix(), *matrix, {}, y.matrix());
    return y;
  });
}

TEST(LinearBf16, RefusesOtherTypes) {
  EXPECT_FALSE(set_compute(DType::f16));
  EXPECT_EQ(compute(), DType::f32);
}

TEST(Dot, EveryInstructionSetMatchesDouble) {
  for (std::int64_t n : {0, 1, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65, 127, 200, 1000}) {
    const Owned a = normal(1, n + 1, 2 * n), b = normal(1, n + 1, 2 * n + 1);
    double wanted = 0, magnitude = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      wanted += static_cast<double>(a.data[i + 1]) * b.data[i];
      magnitude += std::fabs(static_cast<double>(a.data[i + 1]) * b.data[i]);
    }
    const double bound = magnitude * std::max<std::int64_t>(n, 1) * 0x1p-24 + 1e-30;
    EXPECT_NEAR(dot_scalar(a.data.data() + 1, b.data.data(), n), wanted, bound);
    if constexpr (kX86) {
      if (supports(Isa::avx2)) {
        EXPECT_NEAR(dot_avx2(a.data.data() + 1, b.data.data(), n), wanted, bound);
      }
      if (supports(Isa::avx512)) {
        EXPECT_NEAR(dot_avx512(a.data.data() + 1, b.data.data(), n), wanted, bound);
      }
    }
    if constexpr (kArm) {
      EXPECT_NEAR(dot_neon(a.data.data() + 1, b.data.data(), n), wanted, bound);
    }
  }
}

TEST(Dot, FollowsTheForcedInstructionSet) {
  const std::string best(name(best_isa()));
  ASSERT_TRUE(force_isa("scalar"));
  EXPECT_EQ(dot_kernel(), dot_scalar);
  if constexpr (kX86) {
    if (force_isa("avx2")) {
      EXPECT_EQ(dot_kernel(), dot_avx2);
    }
  }
  ASSERT_TRUE(force_isa(best));
}

}  // namespace
}  // namespace vernier::kernels
