#include "kernels/fixtures.h"
#include "kernels/ops.h"

namespace vernier::kernels {
namespace {

using testing::normal;
using testing::Owned;

// c = alpha a b + (accumulate ? c : 0), in double.
Owned product(const Owned& a, const Owned& b, const Owned& c, float alpha, bool accumulate) {
  Owned out(a.rows, b.cols);
  for (std::int64_t i = 0; i < a.rows; ++i)
    for (std::int64_t j = 0; j < b.cols; ++j) {
      double sum = 0;
      for (std::int64_t k = 0; k < a.cols; ++k) sum += static_cast<double>(a(i, k)) * b(k, j);
      out.matrix()(i, j) = static_cast<float>(alpha * sum + (accumulate ? c(i, j) : 0));
    }
  return out;
}

Owned transposed(const Owned& a) {
  Owned t(a.cols, a.rows);
  for (std::int64_t i = 0; i < a.rows; ++i)
    for (std::int64_t j = 0; j < a.cols; ++j) t.matrix()(j, i) = a(i, j);
  return t;
}

TEST(Sgemm, MatchesDoubleInEveryFormAndShape) {
  const std::int64_t shapes[][3] = {{1, 1, 1}, {3, 5, 7}, {17, 33, 65}, {64, 1, 100}, {1, 70, 129}, {50, 31, 0}};
  std::uint64_t seed = 0;
  for (const auto& [m, n, k] : shapes) {
    const Owned a = normal(m, k, ++seed), b = normal(k, n, ++seed), c = normal(m, n, ++seed);
    for (bool accumulate : {false, true}) {
      const Owned wanted = product(a, b, c, 0.5f, accumulate);
      Owned found = c;
      sgemm(a.matrix(), b.matrix(), false, found.matrix(), 0.5f, accumulate);
      testing::expect_near(found, wanted, 1e-5);
      found = c;
      sgemm(a.matrix(), transposed(b).matrix(), true, found.matrix(), 0.5f, accumulate);
      testing::expect_near(found, wanted, 1e-5);
      found = c;
      sgemm_at(transposed(a).matrix(), b.matrix(), found.matrix(), 0.5f, accumulate);
      testing::expect_near(found, wanted, 1e-5);
    }
  }
}

TEST(Sgemm, OverwritesWhateverTheResultHeld) {
  const Owned a = normal(4, 20, 1), b = normal(20, 6, 2);
  Owned c(4, 6);
  std::fill(c.data.begin(), c.data.end(), NAN);
  sgemm(a.matrix(), b.matrix(), false, c.matrix());
  testing::expect_near(c, product(a, b, c, 1, false), 1e-5);
}

TEST(Sgemm, LeavesTheRestOfAStridedResultAlone) {
  const Owned a = normal(5, 12, 1), b = normal(12, 3, 2);
  Owned c = normal(5, 9, 3);
  const Owned before = c;
  sgemm(a.matrix(), b.matrix(), false, c.matrix().cols_slice(4, 3));
  const Owned wanted = product(a, b, Owned(5, 3), 1, false);
  for (std::int64_t r = 0; r < 5; ++r)
    for (std::int64_t col = 0; col < 9; ++col) {
      const bool inside = col >= 4 && col < 7;
      EXPECT_NEAR(c(r, col), inside ? wanted(r, col - 4) : before(r, col), 1e-5);
    }
}

}  // namespace
}  // namespace vernier::kernels
