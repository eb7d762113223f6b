#include <gtest/gtest.h>

#include <cmath>

#include "methods/solver_support.h"
#include "support/support.h"

namespace vernier {
namespace {

using testing::Layer;
using testing::make_solver;

TEST(Rtn, RoundsEveryGroupUnderItsRange) {
  const Layer layer(9, 100, 50, 1);
  for (const char* method : {"minmax", "percentile", "mse"})
    for (std::int64_t group : {-1, 0, 32}) {
      const auto range = std::move(make_range({.method = method})).value();
      const auto grid = make_grid({"int", 3, false, group}).value();
      SolveReport report;
      auto part = make_solver("rtn")->solve({"w", layer.matrix(), grid, range.get()}, report);
      VN_ASSERT_OK(part);
      const std::int64_t width = grid->group_columns(100);
      double error = 0, norm = 0;
      for (std::int64_t r = 0; r < 9; ++r)
        for (std::int64_t first = 0; first < 100; first += width) {
          const auto count = static_cast<std::size_t>(std::min(width, 100 - first));
          const std::span<const float> values(&layer.weight[r * 100 + first], count);
          std::vector<float> params(2), decoded(count);
          std::vector<std::uint8_t> codes(count);
          range->fit(*grid, group == -1 ? std::span<const float>(layer.weight) : values, {}, params);
          grid->encode(values, params, codes, decoded);
          const auto found = part->params_of(r, first / width);
          EXPECT_TRUE(std::equal(found.begin(), found.end(), params.begin()));
          EXPECT_TRUE(std::equal(codes.begin(), codes.end(), part->codes.begin() + r * 100 + first));
          for (std::size_t i = 0; i < count; ++i) {
            error += std::pow(double{decoded[i]} - values[i], 2);
            norm += double{values[i]} * values[i];
          }
        }
      EXPECT_NEAR(report.error, error / norm, 1e-9);
      EXPECT_EQ(report.error, report.error_rtn);
    }
}

// Under the mean squares of the input the error under the Hessian's diagonal falls, in whatever searches for scales.
TEST(Rtn, HeedsImportance) {
  const Layer layer(16, 256, 300, 4);
  std::vector<float> importance(256);
  Hessian diagonal(256);
  for (std::int64_t c = 0; c < 256; ++c) importance[c] = diagonal.matrix()(c, c) = layer.hessian.matrix()(c, c);
  const std::pair<const char*, GridSpec> grids[] = {{"mse", {"int", 3, false, 64}},
                                                    {"search", *find_format("q3_k").value()->fixed},
                                                    {"search", *find_format("q2_k").value()->fixed}};
  for (const auto& [method, spec] : grids) {
    const auto range = make_range({.method = method, .norm = 2}).value();
    SolveInput input{"w", layer.matrix(), make_grid(spec).value(), range.get(), &diagonal};
    SolveReport plain, weighted;
    VN_ASSERT_OK(make_solver("rtn")->solve(input, plain));
    input.importance = importance;
    VN_ASSERT_OK(make_solver("rtn")->solve(input, weighted));
    EXPECT_LT(weighted.error, 0.99 * plain.error) << spec.text();
  }
}

TEST(Rtn, ReportsTheErrorUnderTheHessianWhenThereIsOne) {
  const Layer layer(40, 96, 300, 2);
  const auto range = std::move(make_range({})).value();
  const auto grid = make_grid({"int", 4, true, 32}).value();
  SolveReport report;
  auto part = make_solver("rtn")->solve({"w", layer.matrix(), grid, range.get(), &layer.hessian}, report);
  VN_ASSERT_OK(part);
  double error = 0, norm = 0;
  for (double e : testing::row_errors(*part, layer.matrix(), layer.hessian.matrix())) error += e;
  GridPart zero = *part;
  zero.codes.assign(zero.codes.size(), 8);
  for (double e : testing::row_errors(zero, layer.matrix(), layer.hessian.matrix())) norm += e;
  EXPECT_NEAR(report.error, error / norm, 1e-4 * error / norm);
}

TEST(Rtn, ReadsRowsApart) {
  const Layer layer(10, 64, 20, 3);
  std::vector<float> wide(10 * 70, std::nanf(""));
  for (std::int64_t r = 0; r < 10; ++r) std::copy_n(&layer.weight[r * 64], 64, &wide[r * 70]);
  const auto range = std::move(make_range({})).value();
  for (std::int64_t group : {-1, 32}) {
    const auto grid = make_grid({"int", 4, true, group}).value();
    SolveReport report;
    const auto a = make_solver("rtn")->solve({"w", layer.matrix(), grid, range.get()}, report);
    const auto b = make_solver("rtn")->solve({"w", {wide.data(), 10, 64, 70}, grid, range.get()}, report);
    VN_ASSERT_OK(b);
    EXPECT_EQ(a->codes, b->codes);
    EXPECT_EQ(a->params, b->params);
  }
}

}  // namespace
}  // namespace vernier
