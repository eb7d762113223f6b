#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "methods/gptq/factor.h"
#include "methods/gptq/order.h"
#include "methods/gptq/ref.h"
#include "methods/gptq/sweep.h"
#include "methods/solver_support.h"
#include "support/support.h"

namespace vernier {
namespace {

using gptq::ColumnOrder;
using gptq::Order;
using testing::Layer;
using testing::make_solver;

std::vector<float> diagonal_of(const Hessian& h) {
  std::vector<float> d(h.columns());
  for (std::int64_t c = 0; c < h.columns(); ++c) d[c] = h.matrix()(c, c);
  return d;
}

std::unique_ptr<Range> minmax() { return std::move(make_range({})).value(); }

// Codes [rows, cols], row losses and decoded values of the sweep alone, without the choice per row.
struct Swept {
  std::vector<std::uint8_t> codes;
  std::vector<double> loss;
  std::vector<float> decoded;  // columns as they lie
};

Swept sweep_all(const Layer& layer, const Grid& grid, const ColumnOrder& order, const gptq::Factor& factor,
                std::int64_t block) {
  const auto range = minmax();
  const gptq::SweepPlan plan{grid, *range, order, factor.matrix(), gptq::cut_blocks(order, block)};
  const std::int64_t rows = layer.rows, cols = layer.cols, groups = grid.groups(cols);
  Swept result{std::vector<std::uint8_t>(rows * cols), std::vector<double>(rows), std::vector<float>(rows * cols)};
  for (std::int64_t first = 0; first < rows; first += gptq::tile_rows) {
    const std::int64_t count = std::min(gptq::tile_rows, rows - first);
    std::vector<float> work(count * cols), params(groups * 2 * gptq::tile_rows), fitted(2);
    for (std::int64_t r = 0; r < count; ++r) {
      for (std::int64_t i = 0; i < cols; ++i) work[r * cols + i] = layer.matrix()(first + r, order.column[i]);
      for (std::int64_t g = 0; order.fitted_first && g < groups; ++g) {
        const std::int64_t width = grid.group_columns(cols), at = g * width;
        range->fit(grid, {layer.matrix().row(first + r) + at, static_cast<std::size_t>(std::min(width, cols - at))}, {},
                   fitted);
        for (int p = 0; p < 2; ++p) params[(g * 2 + p) * gptq::tile_rows + r] = fitted[p];
      }
    }
    gptq::sweep(plan, {{work.data(), count, cols},
                       {result.codes.data() + first * cols, count, cols},
                       params,
                       std::span(result.loss).subspan(first, count)});
    for (std::int64_t r = 0; r < count; ++r)
      for (std::int64_t i = 0; i < cols; ++i) result.decoded[(first + r) * cols + order.column[i]] = work[r * cols + i];
  }
  return result;
}

double share_equal(const std::vector<std::uint8_t>& a, const std::vector<std::uint8_t>& b) {
  std::size_t equal = 0;
  for (std::size_t i = 0; i < a.size(); ++i) equal += a[i] == b[i];
  return static_cast<double>(equal) / static_cast<double>(a.size());
}

constexpr Order all_orders[] = {Order::none, Order::act, Order::static_act, Order::group_aware};

TEST(GptqFactor, IsTheInverseFactorOfTheDampedHessian) {
  for (std::int64_t n : {1, 3, 100, 256, 257, 600}) {
    const Layer layer(1, n, 2 * n + 10, 21);
    std::vector<std::int32_t> column(n);
    std::iota(column.rbegin(), column.rend(), 0);
    const auto factor = gptq::make_factor(layer.hessian.matrix(), column, 0.01, 0.01);
    ASSERT_TRUE(factor.u);
    EXPECT_EQ(factor.note, "");
    const Matrix<const float> u = factor.matrix(), h = layer.hessian.matrix();
    // U H_d U^T = I.
    double mean = 0;
    for (std::int64_t i = 0; i < n; ++i) mean += h(i, i) / static_cast<double>(n);
    EXPECT_NEAR(factor.lambda, 0.01 * mean, 1e-5 * mean);
    std::vector<double> uh(n);
    for (std::int64_t i = 0; i < n; i += 1 + n / 23) {
      for (std::int64_t c = 0; c < n; ++c) {
        uh[c] = 0;
        for (std::int64_t k = i; k < n; ++k) uh[c] += u(i, k) * (h(column[k], column[c]) + (k == c) * factor.lambda);
      }
      for (std::int64_t j = 0; j < n; ++j) {
        double product = 0;
        for (std::int64_t c = j; c < n; ++c) product += uh[c] * u(j, c);
        EXPECT_NEAR(product, i == j ? 1.0 : 0.0, 2e-3) << n << " " << i << " " << j;
      }
    }
  }
}

TEST(GptqFactor, MatchesTheReference) {
  const std::int64_t n = 300;
  const Layer layer(1, n, 1000, 22);
  const ColumnOrder order = gptq::make_order(Order::act, false, diagonal_of(layer.hessian), n);
  const auto factor = gptq::make_factor(layer.hessian.matrix(), order.column, 0.01, 0.01);
  const auto u = gptq::reference_factor(layer.hessian.matrix(), order, factor.lambda);
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t j = i; j < n; ++j) EXPECT_NEAR(factor.matrix()(i, j), u[i * n + j], 1e-3 * u[i * n + i]);
}

TEST(GptqFactor, RaisesDampingUntilItSucceeds) {
  const Layer singular(1, 64, 20, 23);  // rank 20
  std::vector<std::int32_t> column(64);
  std::iota(column.begin(), column.end(), 0);
  const auto repaired = gptq::make_factor(singular.hessian.matrix(), column, 0, 0.01);
  ASSERT_TRUE(repaired.u);
  EXPECT_GT(repaired.damp, 0);
  EXPECT_NE(repaired.note.find("damping raised"), std::string::npos);

  Hessian indefinite = testing::identity_hessian(8);  // eigenvalues 1 +- 1.5
  indefinite.matrix()(2, 5) = indefinite.matrix()(5, 2) = 1.5f;
  std::vector<std::int32_t> eight(column.begin(), column.begin() + 8);
  const auto raised = gptq::make_factor(indefinite.matrix(), eight, 0.01, 0.01);
  ASSERT_TRUE(raised.u);
  EXPECT_GE(raised.damp, 0.5);
  indefinite.matrix()(2, 5) = indefinite.matrix()(5, 2) = 1.05f;  // needs 0.05
  EXPECT_LT(gptq::make_factor(indefinite.matrix(), eight, 0.01, 0.01).damp, 0.2);
  indefinite.matrix()(2, 5) = indefinite.matrix()(5, 2) = 100.0f;
  const auto hopeless = gptq::make_factor(indefinite.matrix(), eight, 0.01, 0.01);
  EXPECT_FALSE(hopeless.u);
  EXPECT_NE(hopeless.note.find("nearest"), std::string::npos);
}

TEST(GptqOrder, EachKindOrdersAndGroupsAsDefined) {
  const std::vector<float> d{1, 5, 2, 2, 9, 0, 7, 7, 3, 8};  // groups {0-3} {4-7} and the tail {8, 9}
  const auto order = [&](Order kind) { return gptq::make_order(kind, false, d, 4); };
  using Columns = std::vector<std::int32_t>;
  EXPECT_EQ(order(Order::none).column, (Columns{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
  EXPECT_EQ(order(Order::act).column, (Columns{4, 9, 6, 7, 1, 8, 2, 3, 0, 5}));
  EXPECT_EQ(order(Order::act).group, (Columns{0, 0, 0, 0, 1, 1, 1, 1, 2, 2}));
  EXPECT_EQ(order(Order::act).group_of_column, (Columns{2, 1, 1, 1, 0, 2, 0, 0, 1, 0}));
  EXPECT_EQ(order(Order::static_act).column, order(Order::act).column);
  EXPECT_EQ(order(Order::static_act).group, (Columns{1, 2, 1, 1, 0, 2, 0, 0, 0, 1}));
  EXPECT_TRUE(order(Order::static_act).fitted_first);
  EXPECT_TRUE(order(Order::static_act).group_of_column.empty()) << "static groups need no map";
  EXPECT_EQ(order(Order::group_aware).column, (Columns{4, 6, 7, 5, 1, 2, 3, 0, 9, 8}));
  EXPECT_EQ(order(Order::group_aware).group, (Columns{1, 1, 1, 1, 0, 0, 0, 0, 2, 2}));
  EXPECT_TRUE(order(Order::group_aware).group_of_column.empty());
  EXPECT_TRUE(gptq::make_order(Order::act, false, d, 10).group_of_column.empty()) << "one group needs no map";
}

TEST(GptqOrder, BlocksNeverSplitAGroupThatFits) {
  std::vector<float> d(100, 1.0f);
  using Cuts = std::vector<std::int64_t>;
  const auto cuts = [&](std::int64_t group, std::int64_t block) {
    return gptq::cut_blocks(gptq::make_order(Order::none, false, d, group), block);
  };
  EXPECT_EQ(cuts(10, 32), (Cuts{0, 30, 60, 90, 100}));
  EXPECT_EQ(cuts(32, 32), (Cuts{0, 32, 64, 96, 100}));
  EXPECT_EQ(cuts(48, 32), (Cuts{0, 32, 48, 80, 100}));
  EXPECT_EQ(cuts(100, 64), (Cuts{0, 64, 100}));
  EXPECT_EQ(gptq::cut_blocks(gptq::make_order(Order::none, true, d, 10), 32), (Cuts{0, 32, 64, 96, 100}));
}

TEST(GptqSweep, MatchesTheFormula) {
  for (Order kind : all_orders)
    for (auto [group, block] : {std::pair<std::int64_t, std::int64_t>{0, 32}, {16, 32}, {40, 64}, {64, 24}, {50, 128}})
      for (int bits : {2, 4}) {
        const Layer layer(140, 210, 700, 31 + bits);
        const auto grid = make_grid({"int", bits, bits > 2, group}).value();
        const ColumnOrder order =
            gptq::make_order(kind, false, diagonal_of(layer.hessian), grid->group_columns(layer.cols));
        const auto factor = gptq::make_factor(layer.hessian.matrix(), order.column, 0.01, 0.01);
        const auto range = minmax();
        const GridPart wanted =
            gptq::reference_gptq(layer.matrix(), layer.hessian.matrix(), grid, *range, order, factor.lambda);
        const Swept found = sweep_all(layer, *grid, order, factor, block);
        EXPECT_GE(share_equal(found.codes, wanted.codes), 0.999)
            << static_cast<int>(kind) << " group " << group << " block " << block << " bits " << bits;
      }
}

TEST(GptqSweep, DoesNotDependOnTheBlockSize) {
  for (Order kind : all_orders) {
    const Layer layer(60, 300, 900, 41);
    const auto grid = make_grid({"int", 3, false, 32}).value();
    const ColumnOrder order = gptq::make_order(kind, false, diagonal_of(layer.hessian), 32);
    const auto factor = gptq::make_factor(layer.hessian.matrix(), order.column, 0.01, 0.01);
    const Swept whole = sweep_all(layer, *grid, order, factor, 300);
    for (std::int64_t block : {1, 7, 32, 100, 128})
      EXPECT_GE(share_equal(sweep_all(layer, *grid, order, factor, block).codes, whole.codes), 0.999) << block;
  }
}

TEST(GptqSweep, LossIsTheErrorUnderTheDampedHessian) {
  for (Order kind : all_orders) {
    const Layer layer(20, 130, 400, 51);
    const auto grid = make_grid({"int", 3, true, 32}).value();
    const ColumnOrder order = gptq::make_order(kind, false, diagonal_of(layer.hessian), 32);
    const auto factor = gptq::make_factor(layer.hessian.matrix(), order.column, 0.01, 0.01);
    const Swept swept = sweep_all(layer, *grid, order, factor, 64);
    for (std::int64_t r = 0; r < layer.rows; ++r) {
      double error = 0;
      for (std::int64_t i = 0; i < layer.cols; ++i)
        for (std::int64_t j = 0; j < layer.cols; ++j)
          error += (double{swept.decoded[r * layer.cols + i]} - layer.matrix()(r, i)) *
                   (layer.hessian.matrix()(i, j) + (i == j) * factor.lambda) *
                   (double{swept.decoded[r * layer.cols + j]} - layer.matrix()(r, j));
      EXPECT_NEAR(swept.loss[r], error, 2e-3 * error);
    }
  }
}

TEST(Gptq, WithTheIdentityIsRoundToNearestBitForBit) {
  const Layer layer(150, 200, 1, 61);
  const Hessian identity = testing::identity_hessian(200);
  const auto range = minmax();
  for (const char* order : {"none", "act", "static", "group-aware"})
    for (std::int64_t group : {-1, 0, 64}) {
      const auto grid = make_grid({"int", 4, false, group}).value();
      SolveReport report;
      const SolveInput input{"w", layer.matrix(), grid, range.get(), &identity, true};
      auto part = make_solver("gptq", {{"order", std::string(order)}})->solve(input, report);
      VN_ASSERT_OK(part);
      const auto nearest = make_solver("rtn")->solve(input, report).value();
      EXPECT_EQ(part->codes, nearest.codes) << order;
      EXPECT_EQ(part->params, nearest.params) << order;
      // The sweep itself, too, not only the choice per row.
      if (group == -1) continue;
      const ColumnOrder columns =
          gptq::make_order(gptq::order_from_name(order), false, diagonal_of(identity), grid->group_columns(200));
      const auto factor = gptq::make_factor(identity.matrix(), columns.column, 0.01, 0.01);
      EXPECT_EQ(sweep_all(layer, *grid, columns, factor, 128).codes, nearest.codes) << order;
    }
}

TEST(Gptq, HalvesTheErrorOfRoundToNearestOnCorrelatedInputs) {
  const Layer layer(128, 256, 1000, 71);
  const auto range = minmax();
  for (const char* order : {"none", "act", "static", "group-aware"})
    for (bool static_groups : {false, true}) {
      const auto grid = make_grid({"int", 3, false, 64}).value();
      SolveReport report;
      auto part = make_solver("gptq", {{"order", std::string(order)}, {"static_groups", static_groups}})
                      ->solve({"w", layer.matrix(), grid, range.get(), &layer.hessian, true}, report);
      VN_ASSERT_OK(part);
      EXPECT_LT(report.error, 0.6 * report.error_rtn) << order;
      EXPECT_GT(report.error, 0);
      EXPECT_NEAR(report.damp, 0.01, 1e-6);
      EXPECT_EQ(report.note, "");
      double error = 0;
      for (double e : testing::row_errors(*part, layer.matrix(), layer.hessian.matrix())) error += e;
      GridPart zero = *part;
      std::fill(zero.params.begin(), zero.params.end(), 0.0f);
      double norm = 0;
      for (double e : testing::row_errors(zero, layer.matrix(), layer.hessian.matrix())) norm += e;
      EXPECT_NEAR(report.error, error / norm, 0.02 * error / norm) << "reported and true error";
    }
}

TEST(Gptq, ActOrderNeedsAGroupPerColumnUnlessGroupsAreStatic) {
  const Layer layer(20, 96, 300, 81);
  const auto range = minmax();
  const auto grid = make_grid({"int", 4, true, 32}).value();
  const auto solve = [&](const char* order, bool allowed) {
    SolveReport report;
    return make_solver("gptq", {{"order", std::string(order)}})
        ->solve({"w", layer.matrix(), grid, range.get(), &layer.hessian, allowed}, report);
  };
  auto refused = solve("act", false);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::unsupported);
  EXPECT_NE(refused.error().hint.find("group-aware"), std::string::npos);
  EXPECT_EQ(solve("act", true)->group_of_column.size(), 96u);
  EXPECT_TRUE(solve("static", false)->group_of_column.empty());
  EXPECT_TRUE(solve("group-aware", false)->group_of_column.empty());
}

TEST(Gptq, ZeroesDeadColumnsAndHandlesZeroGroupsAndTails) {
  Layer layer(70, 150, 400, 91, {0, 70, 149});
  for (std::int64_t r = 0; r < 70; ++r)
    for (std::int64_t c = 64; c < 128; ++c) layer.weight[r * 150 + c] = 0;  // a whole group
  const auto range = minmax();
  for (const char* order : {"none", "act", "static", "group-aware"}) {
    const auto grid = make_grid({"int", 4, true, 64}).value();
    SolveReport report;
    auto part = make_solver("gptq", {{"order", std::string(order)}})
                    ->solve({"w", layer.matrix(), grid, range.get(), &layer.hessian, true}, report);
    VN_ASSERT_OK(part);
    EXPECT_EQ(report.dead_columns, 3);
    EXPECT_LT(report.error, report.error_rtn);
    std::vector<float> decoded(70 * 150);
    part->decode_rows(0, 70, decoded.data());
    for (float v : decoded) EXPECT_TRUE(std::isfinite(v));
  }
}

TEST(Gptq, RepairsSingularHessiansAndSaysSo) {
  const Layer layer(40, 128, 20, 101);
  const auto range = minmax();
  const auto grid = make_grid({"int", 4, true, 32}).value();
  SolveReport report;
  VN_ASSERT_OK(
      make_solver("gptq", {{"damp", 0.0}})->solve({"w", layer.matrix(), grid, range.get(), &layer.hessian}, report));
  EXPECT_NE(report.note, "");
  EXPECT_GT(report.damp, 0);
  EXPECT_LE(report.error, report.error_rtn);

  Hessian hopeless = testing::identity_hessian(128);
  hopeless.matrix()(3, 9) = hopeless.matrix()(9, 3) = 1e6f;
  for (const char* order : {"act", "group-aware"}) {
    auto part = make_solver("gptq", {{"order", std::string(order)}})
                    ->solve({"w", layer.matrix(), grid, range.get(), &hopeless, true}, report);
    VN_ASSERT_OK(part);
    EXPECT_NE(report.note.find("nearest"), std::string::npos);
    const auto nearest = make_solver("rtn")->solve({"w", layer.matrix(), grid, range.get()}, report).value();
    EXPECT_EQ(part->codes, nearest.codes);
    std::vector<float> a(40 * 128), b(40 * 128);
    part->decode_rows(0, 40, a.data());
    nearest.decode_rows(0, 40, b.data());
    EXPECT_EQ(a, b);
  }
}

TEST(Gptq, KeepsItsFactorForLinearsOfOneInput) {
  const Layer layer(30, 96, 300, 111);
  const auto range = minmax();
  const auto grid = make_grid({"int", 4, true, 32}).value(), other = make_grid({"int", 4, true, 16}).value();
  const auto solver = make_solver("gptq");
  SolveReport report;
  const SolveInput first{"a", layer.matrix().rows_slice(0, 10), grid, range.get(), &layer.hessian};
  const SolveInput second{"b", layer.matrix().rows_slice(10, 20), other, range.get(), &layer.hessian};
  VN_ASSERT_OK(solver->solve(first, report));
  const auto shared = solver->solve(second, report).value();
  const auto again = solver->solve(first, report).value();
  solver->release_hessian();
  EXPECT_EQ(solver->solve(second, report)->codes, shared.codes);
  EXPECT_EQ(make_solver("gptq")->solve(first, report)->codes, again.codes);
}

TEST(Gptq, RefusesWhatDoesNotFit) {
  const Layer layer(10, 64, 100, 121);
  const auto range = minmax();
  const auto grid = make_grid({"int", 4, true, 32}).value();
  SolveReport report;
  EXPECT_FALSE(make_solver("gptq")->solve({"w", layer.matrix(), grid, range.get()}, report).ok());
  const Hessian narrow = testing::identity_hessian(32);
  auto mismatch = make_solver("gptq")->solve({"w", layer.matrix(), grid, range.get(), &narrow}, report);
  ASSERT_FALSE(mismatch.ok());
  EXPECT_EQ(mismatch.error().code, ErrorCode::mismatch);
  Hessian broken = testing::identity_hessian(64);
  broken.matrix()(7, 7) = std::nanf("");
  auto refused = make_solver("gptq")->solve({"w", layer.matrix(), grid, range.get(), &broken}, report);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("column 7"), std::string::npos);
}

TEST(Gptq, ChecksItsOptions) {
  const MethodDescriptor* method = find_method("gptq").value();
  const auto valid = [&](const char* name, OptionValue value) {
    std::vector<std::pair<std::string, OptionValue>> values;
    for (const OptionSchema& o : method->options)
      values.emplace_back(o.name, std::string_view(name) == o.name ? value : o.fallback);
    return method->validate(Options(values)).ok();
  };
  EXPECT_TRUE(valid("damp", 0.05));
  EXPECT_FALSE(valid("damp", -0.1));
  EXPECT_FALSE(valid("damp", 1.0));
  EXPECT_FALSE(valid("damp_step", 2.0));
  EXPECT_FALSE(valid("block", std::int64_t{0}));
}

}  // namespace
}  // namespace vernier
