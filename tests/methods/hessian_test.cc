#include "methods/hessian.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "base/random.h"
#include "base/threads.h"

namespace vernier {
namespace {

std::vector<float> tokens(std::int64_t rows, std::int64_t cols) {
  const Random random(7);
  std::vector<float> x(rows * cols);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = random.normal(i);
  return x;
}

std::vector<float> collect(const std::vector<float>& x, std::int64_t cols, std::vector<std::int64_t> cuts) {
  const auto rows = static_cast<std::int64_t>(x.size()) / cols;
  Hessian h(cols);
  std::int64_t at = 0;
  for (std::size_t i = 0; at < rows; ++i) {
    const std::int64_t count = std::min(rows - at, cuts[i % cuts.size()]);
    h.add({x.data() + at * cols, count, cols});
    at += count;
  }
  EXPECT_EQ(h.tokens(), rows);
  h.finish();
  const Matrix<const float> m = h.matrix();
  return {m.data, m.data + cols * cols};
}

TEST(Hessian, IsTwiceTheMeanOuterProduct) {
  for (std::int64_t cols : {1, 5, 64, 300, 515}) {
    const std::int64_t rows = 700;
    const auto x = tokens(rows, cols);
    const auto h = collect(x, cols, {rows});
    for (std::int64_t i = 0; i < cols; i += 1 + cols / 40)
      for (std::int64_t j = 0; j < cols; ++j) {
        double sum = 0;
        for (std::int64_t t = 0; t < rows; ++t) sum += double{x[t * cols + i]} * x[t * cols + j];
        EXPECT_NEAR(h[i * cols + j], 2 * sum / rows, 1e-5);
        EXPECT_EQ(h[i * cols + j], h[j * cols + i]);
      }
  }
}

TEST(Hessian, BytesDoNotDependOnCallsOrThreads) {
  const std::int64_t rows = 1700, cols = 333;
  const auto x = tokens(rows, cols);
  const int threads = thread_count();
  set_thread_count(1);
  const auto whole = collect(x, cols, {rows});
  for (int count : {1, 2, 3})
    for (const std::vector<std::int64_t>& cuts :
         {std::vector<std::int64_t>{512}, {1}, {37, 400, 1}, {511, 2}, {1000}}) {
      set_thread_count(count);
      EXPECT_EQ(collect(x, cols, cuts), whole);
    }
  set_thread_count(threads);
}

TEST(Hessian, WithoutTokensIsZero) {
  Hessian h(40);
  h.finish();
  for (std::int64_t i = 0; i < 40; ++i) EXPECT_EQ(h.matrix()(i, 39 - i), 0.0f);
  EXPECT_GE(Hessian::bytes(40), 40 * 40 * 4);
}

}  // namespace
}  // namespace vernier
