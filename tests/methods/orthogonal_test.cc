#include "methods/orthogonal.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "base/random.h"
#include "base/threads.h"
#include "support/support.h"

namespace vernier {
namespace {

std::vector<double> normals(std::int64_t n, std::uint64_t seed) {
  const Random random(seed);
  std::vector<double> x(n);
  for (std::int64_t i = 0; i < n; ++i) x[i] = random.normal(i);
  return x;
}

// Row i is e_i Q.
std::vector<std::vector<double>> dense(const Orthogonal& q) {
  std::vector<std::vector<double>> rows;
  for (std::int64_t i = 0; i < q.size(); ++i) {
    std::vector<double> e(q.size(), 0.0);
    e[i] = 1;
    q.apply(e);
    rows.push_back(std::move(e));
  }
  return rows;
}

void expect_orthogonal(const Orthogonal& q) {
  const auto rows = dense(q);
  for (std::size_t i = 0; i < rows.size(); ++i)
    for (std::size_t j = 0; j <= i; ++j)
      ASSERT_NEAR(std::inner_product(rows[i].begin(), rows[i].end(), rows[j].begin(), 0.0), i == j, 1e-12);
  std::vector<double> x = normals(q.size(), 3);
  const std::vector<double> before = x;
  q.apply(x);
  q.apply_transposed(x);
  for (std::size_t i = 0; i < x.size(); ++i) ASSERT_NEAR(x[i], before[i], 1e-12);
}

TEST(Orthogonal, RandomMatricesAreOrthogonalAndDifferBySeed) {
  for (const Keep keep : {Keep::nothing, Keep::ones})
    for (const auto make : {random_hadamard, random_orthogonal}) {
      const auto a = make(48, 1, keep), same = make(48, 1, keep), b = make(48, 2, keep);
      VN_ASSERT_OK(a);
      VN_ASSERT_OK(b);
      expect_orthogonal(**a);
      EXPECT_EQ(dense(**a), dense(**same));
      EXPECT_NE(dense(**a), dense(**b));
      std::vector<double> ones(48, 1.0);
      (*a)->apply(ones);
      const bool kept = std::all_of(ones.begin(), ones.end(), [](double v) { return std::abs(v - 1) < 1e-12; });
      EXPECT_EQ(kept, keep == Keep::ones);
    }
}

TEST(Orthogonal, ASingleChannelIsSpreadOverAll) {
  for (const Keep keep : {Keep::nothing, Keep::ones}) {
    const auto q = random_hadamard(1024, 7, keep);
    VN_ASSERT_OK(q);
    std::vector<double> x(1024, 0.0);
    x[13] = 1;
    (*q)->apply(x);
    double most = 0;
    for (double v : x) most = std::max(most, std::abs(v));
    EXPECT_LT(most, 0.2);
  }
}

TEST(Orthogonal, SizesWithoutAHadamardFallBackToADenseMatrix) {
  EXPECT_FALSE(random_hadamard(7, 0).ok());
  const auto q = random_rotation(7, 0, Keep::ones);
  VN_ASSERT_OK(q);
  expect_orthogonal(**q);
  const auto one = random_rotation(1, 0, Keep::ones);
  VN_ASSERT_OK(one);
  const auto refused = random_rotation(4098, 0);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::unsupported);
}

TEST(Orthogonal, DirectionsBecomeChannels) {
  std::vector<std::vector<double>> directions{normals(20, 1), normals(20, 2), std::vector<double>(20, 0.0)};
  directions[2][4] = 1;  // nearly its own channel
  const std::vector<std::int64_t> channels{11, 0, 4};
  const OrthogonalPtr q = direction_rotation(20, directions, channels);
  expect_orthogonal(*q);
  std::vector<double> x = directions[0];
  q->apply(x);
  const double length = std::sqrt(std::inner_product(x.begin(), x.end(), x.begin(), 0.0));
  EXPECT_NEAR(x[11], length, 1e-12);
  x = directions[1];
  q->apply(x);
  for (std::int64_t i = 1; i < 20; ++i) EXPECT_NEAR(i == 11 ? 0 : x[i], 0, 1e-12) << i;
  // A direction that is its channel already needs no reflection.
  const std::vector<std::vector<double>> unit{directions[2]};
  const std::vector<std::int64_t> own{4};
  expect_orthogonal(*direction_rotation(20, unit, own));
}

// y = x W^T is what it was when x and the columns turn, and turns when the rows do; heads turn one by one.
TEST(Orthogonal, WeightsTurnFromEitherSide) {
  const auto q = random_rotation(12, 5);
  VN_ASSERT_OK(q);
  const std::vector<double> numbers = normals(24 * 36, 6), x = normals(36, 8);
  const Tensor original = [&] {
    Tensor w(DType::f32, {24, 36});
    std::copy(numbers.begin(), numbers.end(), w.as<float>().begin());
    return w;
  }();
  const auto product = [](const Tensor& w, const std::vector<double>& v) {
    std::vector<double> y(24, 0.0);
    for (std::int64_t r = 0; r < 24; ++r)
      for (std::int64_t c = 0; c < 36; ++c) y[r] += w.matrix()(r, c) * v[c];
    return y;
  };
  const auto copy = [&] {
    Tensor w(DType::f32, {24, 36});
    std::copy_n(original.as<float>().begin(), 24 * 36, w.as<float>().begin());
    return w;
  };
  const auto turned = [&](std::vector<double> v) {
    for (std::size_t at = 0; at < v.size(); at += 12) (*q)->apply(std::span(v).subspan(at, 12));
    return v;
  };
  const std::vector<double> y = product(original, x);
  Tensor columns = copy(), rows = copy();
  rotate_columns(columns.matrix(), **q);
  rotate_rows(rows.matrix(), **q);
  const std::vector<double> same = product(columns, turned(x)), moved = product(rows, x), wanted = turned(y);
  for (std::int64_t r = 0; r < 24; ++r) {
    EXPECT_NEAR(same[r], y[r], 1e-5);
    EXPECT_NEAR(moved[r], wanted[r], 1e-5);
  }
  set_thread_count(3);
  Tensor again = copy();
  rotate_rows(again.matrix(), **q);
  set_thread_count(0);
  EXPECT_TRUE(std::equal(again.as<float>().begin(), again.as<float>().end(), rows.as<float>().begin()));
}

}  // namespace
}  // namespace vernier
