#include <limits>

#include "base/cpu.h"
#include "kernels/exp/exp.h"
#include "kernels/fixtures.h"
#include "kernels/ops.h"

namespace vernier::kernels {
namespace {

using testing::normal;
using testing::Owned;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

template <class F>
Owned map(Owned x, F f) {
  for (float& v : x.data) v = static_cast<float>(f(static_cast<double>(v)));
  return x;
}

TEST(Exp, IsWithinTwoUnitsInTheLastPlace) {
  std::vector<float> x;
  for (double v = -110; v < 90; v += 0.0071) x.push_back(static_cast<float>(v));
  std::vector<float> y = x;
  exp_sum_kernel()(y.data(), static_cast<std::int64_t>(y.size()), 0);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double wanted = std::exp(static_cast<double>(x[i]));
    if (wanted > std::numeric_limits<float>::max()) {
      EXPECT_EQ(y[i], kInfinity) << x[i];
      continue;
    }
    const float near = static_cast<float>(wanted);
    EXPECT_LE(std::fabs(y[i] - wanted), 2.0 * (std::nextafter(near, kInfinity) - near)) << x[i];
  }
}

TEST(Exp, TakesTheEdges) {
  float x[] = {0, -kInfinity, kInfinity, NAN, -1e30f, 1e30f};
  exp_sum_kernel()(x, 6, 0);
  EXPECT_EQ(x[0], 1);
  EXPECT_EQ(x[1], 0);
  EXPECT_EQ(x[2], kInfinity);
  EXPECT_TRUE(std::isnan(x[3]));
  EXPECT_EQ(x[4], 0);
  EXPECT_EQ(x[5], kInfinity);
}

TEST(Exp, SumsWhatItWrites) {
  Owned x = normal(1, 77, 5);
  const float sum = exp_sum_kernel()(x.data.data(), 77, 1.5f);
  double wanted = 0;
  for (float v : x.data) wanted += v;
  EXPECT_NEAR(sum, wanted, 1e-5);
}

TEST(Exp, SameBitsOnEveryInstructionSet) {
  const std::string best(name(best_isa()));
  ASSERT_TRUE(force_isa("scalar"));
  Owned scalar = normal(3, 1001, 6, 20);
  const Owned input = scalar;
  const float sum = exp_sum_kernel()(scalar.data.data(), 3003, 2);
  for (const char* isa : {"avx2", "avx512"}) {
    if (!force_isa(isa)) continue;
    Owned x = input;
    EXPECT_EQ(exp_sum_kernel()(x.data.data(), 3003, 2), sum) << isa;
    EXPECT_TRUE(same_bits(x, scalar)) << isa;
  }
  ASSERT_TRUE(force_isa(best));
}

TEST(Maximum, FindsItAnywhere) {
  for (std::int64_t n : {1, 2, 15, 16, 17, 40}) {
    for (std::int64_t at = 0; at < n; ++at) {
      std::vector<float> x(n, -3.0f);
      x[at] = -2.5f;
      EXPECT_EQ(maximum_kernel()(x.data(), n), -2.5f);
    }
  }
}

TEST(Elementwise, ActivationsMatchDouble) {
  const Owned x = normal(7, 333, 7, 4);
  Owned y = x;
  silu(y.matrix());
  testing::expect_near(y, map(x, [](double v) { return v / (1 + std::exp(-v)); }), 1e-6);
  y = x;
  gelu(y.matrix());
  testing::expect_near(y, map(x, [](double v) { return 0.5 * v * (1 + std::erf(v / std::sqrt(2.0))); }), 1e-6);
  y = x;
  relu(y.matrix());
  EXPECT_TRUE(same_bits(y, map(x, [](double v) { return std::max(v, 0.0); })));
}

TEST(Elementwise, AddsAndMultiplies) {
  const Owned a = normal(130, 600, 8), b = normal(130, 600, 9);
  Owned sum = a, product = a;
  add(sum.matrix(), b.matrix());
  multiply(product.matrix(), b.matrix());
  for (std::size_t i = 0; i < a.data.size(); ++i) {
    ASSERT_EQ(sum.data[i], a.data[i] + b.data[i]);
    ASSERT_EQ(product.data[i], a.data[i] * b.data[i]);
  }
}

TEST(Elementwise, SameBitsAtAnyThreadCount) {
  const Owned x = normal(300, 900, 10);
  testing::expect_same_at_any_thread_count([&] {
    Owned y = x;
    silu(y.matrix());
    gelu(y.matrix());
    add(y.matrix(), x.matrix());
    return y;
  });
}

}  // namespace
}  // namespace vernier::kernels
