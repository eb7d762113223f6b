// Matrices of random numbers, comparisons, and the same op at several thread counts.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <vector>

#include "base/random.h"
#include "base/threads.h"
#include "vernier/tensor.h"

namespace vernier::testing {

struct Owned {  // row-major
  std::int64_t rows, cols;
  std::vector<float> data;

  Owned(std::int64_t rows, std::int64_t cols) : rows(rows), cols(cols), data(rows * cols) {}
  Matrix<float> matrix() { return {data.data(), rows, cols}; }
  Matrix<const float> matrix() const { return {data.data(), rows, cols}; }
  float operator()(std::int64_t r, std::int64_t c) const { return data[r * cols + c]; }
};

inline Owned normal(std::int64_t rows, std::int64_t cols, std::uint64_t seed, float deviation = 1) {
  Owned m(rows, cols);
  const Random random(seed);
  for (std::size_t i = 0; i < m.data.size(); ++i) m.data[i] = deviation * random.normal(i);
  return m;
}

// |found - wanted| <= tolerance * (1 + |wanted|), everywhere.
inline void expect_near(const Owned& found, const Owned& wanted, double tolerance) {
  ASSERT_EQ(found.rows, wanted.rows);
  ASSERT_EQ(found.cols, wanted.cols);
  for (std::size_t i = 0; i < found.data.size(); ++i) {
    ASSERT_NEAR(found.data[i], wanted.data[i], tolerance * (1 + std::fabs(wanted.data[i])))
        << "row " << i / found.cols << " column " << i % found.cols;
  }
}

inline bool same_bits(const Owned& a, const Owned& b) {
  return a.data.size() == b.data.size() &&
         std::memcmp(a.data.data(), b.data.data(), a.data.size() * sizeof(float)) == 0;
}

// `op` gives the same bits at 1, 2 and 3 threads.
inline void expect_same_at_any_thread_count(const std::function<Owned()>& op) {
  set_thread_count(1);
  const Owned one = op();
  for (int threads : {2, 3}) {
    set_thread_count(threads);
    EXPECT_TRUE(same_bits(op(), one)) << threads << " threads";
  }
  set_thread_count(0);
}

}  // namespace vernier::testing
