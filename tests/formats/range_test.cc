#include "formats/range.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "base/random.h"
#include "support/support.h"

namespace vernier {
namespace {

std::unique_ptr<Range> range(RangeSpec spec) { return std::move(make_range(spec)).value(); }

std::vector<float> heavy_tailed(std::int64_t count, std::uint64_t seed) {
  const Random random(seed);
  std::vector<float> w(count);
  for (std::int64_t i = 0; i < count; ++i) {
    const float n = random.normal(i);
    w[i] = 0.02f * n * (1 + 0.3f * n * n);
  }
  return w;
}

// In double, with the library's pow.
double error_of(const Grid& grid, std::span<const float> w, std::span<const float> importance,
                std::span<const float> params, double norm) {
  std::vector<std::uint8_t> codes(w.size());
  std::vector<float> decoded(w.size());
  grid.encode(w, params, codes, decoded);
  double sum = 0;
  for (std::size_t i = 0; i < w.size(); ++i)
    sum += (importance.empty() ? 1.0 : importance[i]) * std::pow(std::fabs(double{w[i]} - decoded[i]), norm);
  return sum;
}

TEST(Range, MinMaxCoversTheValuesAndZero) {
  const auto grid = make_grid({"int", 4, false, 128}).value();
  float params[2], wanted[2];
  range({})->fit(*grid, std::vector<float>{1, 3, 2}, {}, params);
  grid->params_from_range(0, 3, wanted);
  EXPECT_EQ(params[0], wanted[0]);
  EXPECT_EQ(params[1], wanted[1]);
  for (std::int64_t n : {1, 15, 16, 17, 63, 200}) {
    const auto w = heavy_tailed(n, n);
    range({})->fit(*grid, w, {}, params);
    grid->params_from_range(std::min(0.0f, *std::min_element(w.begin(), w.end())),
                            std::max(0.0f, *std::max_element(w.begin(), w.end())), wanted);
    EXPECT_EQ(params[0], wanted[0]);
    EXPECT_EQ(params[1], wanted[1]);
  }
}

TEST(Range, PercentileInterpolatesBetweenOrderStatistics) {
  const auto symmetric = make_grid({"int", 8, true, 128}).value(),
             asymmetric = make_grid({"int", 8, false, 128}).value();
  std::vector<float> w{-4, 3, -2, 1, 0};  // |w| sorted: 0 1 2 3 4
  float params[2], wanted[2];
  range({.method = "percentile", .percentile = 90})->fit(*symmetric, w, {}, params);
  symmetric->params_from_range(-3.6f, 3.6f, wanted);
  EXPECT_FLOAT_EQ(params[0], wanted[0]);
  range({.method = "percentile", .percentile = 80})->fit(*asymmetric, w, {}, params);  // 10 % and 90 %
  asymmetric->params_from_range(-4 + 0.4f * 2, 1 + 0.6f * 2, wanted);
  EXPECT_FLOAT_EQ(params[0], wanted[0]);
  EXPECT_EQ(params[1], wanted[1]);
  range({.method = "percentile", .percentile = 100})->fit(*symmetric, w, {}, params);
  symmetric->params_from_range(-4, 3, wanted);
  EXPECT_EQ(params[0], wanted[0]);
}

TEST(Range, MseIsNeverWorseThanMinMaxAndFindsTheBestCandidate) {
  for (int bits : {2, 3, 4, 8})
    for (bool symmetric : {true, false})
      for (double norm : {2.0, 2.4, 3.0})
        for (std::int64_t n : {1, 31, 128, 5000}) {
          const auto grid = make_grid({"int", bits, symmetric, 128}).value();
          const auto w = heavy_tailed(n, 100 * bits + n);
          std::vector<float> importance;
          if (n == 128)
            for (std::int64_t i = 0; i < n; ++i) importance.push_back(i % 3 ? 0.1f : 5.0f);
          float params[2], minmax[2], trial[2];
          range({.method = "mse", .max_shrink = 0.8, .norm = norm})->fit(*grid, w, importance, params);
          range({})->fit(*grid, w, {}, minmax);
          const double found = error_of(*grid, w, importance, params, norm);
          EXPECT_LE(found, error_of(*grid, w, importance, minmax, norm) * (1 + 1e-5));
          const float low = std::min(0.0f, *std::min_element(w.begin(), w.end()));
          const float high = std::max(0.0f, *std::max_element(w.begin(), w.end()));
          for (int i = 0; i < 80; ++i) {
            const float p = 1 - static_cast<float>(i) / 100;
            grid->params_from_range(p * low, p * high, trial);
            EXPECT_LE(found, error_of(*grid, w, importance, trial, norm) * (1 + 1e-5));
          }
        }
}

TEST(Range, AllZeroGroupsDecodeToZero) {
  const std::vector<float> zeros(64, 0.0f);
  std::vector<float> decoded(64, 1.0f), params(2);
  std::vector<std::uint8_t> codes(64);
  for (const char* method : {"minmax", "percentile", "mse"})
    for (bool symmetric : {true, false}) {
      const auto grid = make_grid({"int", 4, symmetric, 64}).value();
      range({.method = method})->fit(*grid, zeros, {}, params);
      grid->encode(zeros, params, codes, decoded);
      EXPECT_EQ(decoded, zeros);
      EXPECT_TRUE(std::isfinite(params[0]) && params[0] > 0);
    }
}

TEST(Range, RefusesWhatItCannotDo) {
  EXPECT_NE(make_range({.method = "mmse"}).error().text().find("minmax, percentile, mse"), std::string::npos);
  EXPECT_FALSE(make_range({.method = "percentile", .percentile = 0}).ok());
  EXPECT_FALSE(make_range({.method = "percentile", .percentile = 100.5}).ok());
  EXPECT_FALSE(make_range({.method = "mse", .grid = 0}).ok());
  EXPECT_FALSE(make_range({.method = "mse", .max_shrink = 1}).ok());
  EXPECT_FALSE(make_range({.method = "mse", .norm = 0}).ok());
  EXPECT_FALSE(make_range({.method = "mse", .norm = std::nan("")}).ok());
}

}  // namespace
}  // namespace vernier
