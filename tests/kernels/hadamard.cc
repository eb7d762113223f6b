#include "kernels/hadamard/hadamard.h"

#include <algorithm>

#include "base/cpu.h"
#include "kernels/fixtures.h"
#include "support/support.h"

namespace vernier::kernels {
namespace {

using testing::normal;
using testing::Owned;

// Every construction, and every size of a published model's hidden state, head or MLP (handbook, transforms, 5).
constexpr std::int64_t kSizes[] = {1,    2,    4,    12,   16,   20,   28,   32,      36,    52,    64,    96,
                                   128,  156,  172,  256,  576,  768,  896,  1536,    2304,  3584,  4864,  5120,
                                   5632, 6656, 8960, 9728, 4096, 8192, 3072, 148 * 2, 11008, 13824, 14336, 924};

TEST(HadamardFactor, RowsAreOrthogonalAndTheFirstIsOnes) {
  int built = 0;
  for (std::int64_t order = 1; order <= 240; ++order) {
    const std::vector<float> h = hadamard_factor(order);
    if (h.empty()) continue;
    ++built;
    for (std::int64_t i = 0; i < order; ++i) {
      EXPECT_EQ(h[i], 1) << order;
      for (std::int64_t j = 0; j <= i; ++j) {
        double dot = 0;
        for (std::int64_t k = 0; k < order; ++k) dot += static_cast<double>(h[i * order + k]) * h[j * order + k];
        ASSERT_EQ(dot, i == j ? order : 0) << order << " rows " << i << ", " << j;
      }
    }
  }
  EXPECT_GE(built, 40);
  for (std::int64_t order : {12, 20, 28, 36, 52, 60, 76, 108, 140, 148, 156, 172})
    EXPECT_FALSE(hadamard_factor(order).empty()) << order;
}

TEST(Hadamard, RefusesSizesItCannotBuild) {
  for (std::int64_t n : {-4, 0, 3, 6, 14, 92}) {
    const auto made = Hadamard::make(n);
    ASSERT_FALSE(made.ok()) << n;
    EXPECT_EQ(made.error().code, ErrorCode::unsupported);
    EXPECT_NE(made.error().message.find(std::to_string(n)), std::string::npos);
  }
}

TEST(Hadamard, TransposedIsTheInverse) {
  for (std::int64_t n : kSizes) {
    const auto made = Hadamard::make(n);
    VN_ASSERT_OK(made);
    EXPECT_EQ(made->order() * made->length(), n);
    const Owned x = normal(2, n, n);
    for (bool first : {false, true}) {
      Owned y = x;
      made->apply(y.matrix(), first);
      double before = 0, after = 0;
      for (std::int64_t i = 0; i < n; ++i) {
        before += std::pow(x.data[i], 2);
        after += std::pow(y.data[i], 2);
      }
      EXPECT_NEAR(after / before, 1, 1e-5) << n;
      made->apply(y.matrix(), !first);
      testing::expect_near(y, x, 2e-6);
    }
  }
}

TEST(Hadamard, FloatsFollowTheDoublesOfTheDefinition) {
  for (std::int64_t n : {8, 48, 172, 768}) {
    const auto made = Hadamard::make(n);
    VN_ASSERT_OK(made);
    const std::vector<float> factor = hadamard_factor(made->order());
    const std::int64_t k = made->order(), l = made->length();
    const Owned x = normal(3, n, 5);
    for (bool transposed : {false, true}) {
      Owned found = x, wanted(3, n);
      made->apply(found.matrix(), transposed);
      for (std::int64_t r = 0; r < 3; ++r) {
        std::vector<double> row(x.data.begin() + r * n, x.data.begin() + (r + 1) * n);
        made->apply(row, transposed);
        for (std::int64_t i = 0; i < n; ++i) {
          double sum = 0;  // entry (i, j) of H_K (x) H_L
          for (std::int64_t j = 0; j < n; ++j) {
            const float a = transposed ? factor[j / l * k + i / l] : factor[i / l * k + j / l];
            sum += a * (__builtin_parityll(i % l & j % l) ? -1.0 : 1.0) * x(r, j);
          }
          wanted.matrix()(r, i) = static_cast<float>(sum / std::sqrt(static_cast<double>(n)));
          ASSERT_NEAR(row[i], wanted(r, i), 1e-6);
        }
      }
      testing::expect_near(found, wanted, 2e-6);
    }
  }
}

TEST(Hadamard, SlicesOfARowAreTransformedAlone) {
  const auto made = Hadamard::make(24);
  VN_ASSERT_OK(made);
  const Owned x = normal(3, 72, 1);
  Owned whole = x, cut(9, 24);
  cut.data = x.data;
  made->apply(whole.matrix());
  made->apply(cut.matrix());
  EXPECT_EQ(whole.data, cut.data);
}

TEST(Hadamard, LargeValuesDoNotOverflow) {
  const auto made = Hadamard::make(16384);
  VN_ASSERT_OK(made);
  Owned x(1, 16384);
  std::fill(x.data.begin(), x.data.end(), 1e36f);
  made->apply(x.matrix());
  EXPECT_NEAR(x.data[0] / 1.28e38, 1, 1e-3);
}

TEST(Hadamard, SameBitsAtAnyThreadCount) {
  for (std::int64_t n : {64, 768, 4096}) {
    const auto made = Hadamard::make(n);
    VN_ASSERT_OK(made);
    testing::expect_same_at_any_thread_count([&] {
      Owned x = normal(37, n, 2);
      made->apply(x.matrix());
      return x;
    });
  }
}

TEST(Butterflies, SameBitsOnEveryInstructionSet) {
  for (std::int64_t n = 1; n <= 32768; n *= 2) {
    Owned wanted = normal(1, n, 4);
    const Owned x = wanted;
    butterflies_scalar(wanted.data.data(), n, 0.37f);
    const auto check = [&](Isa isa, Butterflies butterflies) {
      if (!supports(isa)) return;
      Owned y = x;
      butterflies(y.data.data(), n, 0.37f);
      EXPECT_TRUE(testing::same_bits(y, wanted)) << n << " " << name(isa);
    };
    if constexpr (kX86) {
      check(Isa::avx2, butterflies_avx2);
      check(Isa::avx512, butterflies_avx512);
    }
  }
}

}  // namespace
}  // namespace vernier::kernels
