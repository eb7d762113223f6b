#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/threads.h"
#include "formats/dual/grid.h"
#include "methods/dgq/ref.h"
#include "methods/dgq/search.h"
#include "methods/rtn/round.h"
#include "methods/solver_support.h"
#include "support/support.h"

namespace vernier {
namespace {

using testing::Layer;
using testing::make_solver;

std::shared_ptr<const Grid> dual(int bits, std::int64_t group, bool symmetric = false) {
  return make_grid({"dual", bits, symmetric, group, DType::f32}).value();
}
std::unique_ptr<Range> minmax() { return std::move(make_range({})).value(); }

double total(const std::vector<double>& values) {
  double sum = 0;
  for (double v : values) sum += v;
  return sum;
}

// Error of round to nearest under `params`, the whole Hessian counted.
double rounded_error(const Layer& layer, std::shared_ptr<const Grid> grid, const std::vector<float>& params) {
  GridPart part{.grid = grid, .rows = layer.rows, .cols = layer.cols, .params = params};
  part.codes.resize(layer.rows * layer.cols);
  std::vector<float> decoded(layer.cols);
  for (std::int64_t r = 0; r < layer.rows; ++r) encode_row(layer.matrix(), r, part, decoded);
  return total(testing::row_errors(part, layer.matrix(), layer.hessian.matrix()));
}

// The batched search ends where the formulas do: the same error, up to the rounding of float sums.
TEST(DgqSearch, FindsWhatTheReferenceFinds) {
  const Layer layer(19, 90, 300, 11);  // tiles and a last group that are not full
  const Matrix<const float> w = layer.matrix(), h = layer.hessian.matrix();
  for (int bits : {2, 3, 4})
    for (bool symmetric : {true, false}) {
      const auto grid = dual(bits, 32, symmetric);
      const dgq::SearchSettings settings;
      const std::vector<float> found = dgq::search_params(w, h, *grid, settings);
      const std::size_t per_row = found.size() / layer.rows;
      std::size_t equal = 0;
      for (std::int64_t r = 0; r < layer.rows; ++r) {
        const auto ranges = dgq::reference_ranges(w, r, h, *grid, settings);
        const auto wanted = dgq::reference_coarse(w, r, h, *grid, ranges, settings);
        const std::span<const float> row(found.data() + r * per_row, per_row);
        equal += std::equal(row.begin(), row.end(), wanted.begin());
        const double least = dgq::reference_error(w, r, h, *grid, wanted);
        EXPECT_NEAR(dgq::reference_error(w, r, h, *grid, row), least, 1e-4 * least) << bits << " row " << r;
      }
      EXPECT_GE(equal, layer.rows - 2) << "only near ties may differ";
    }
}

// Groups of one column range are settled on an affine integer grid by phase 1 alone.
TEST(DgqSearch, ShrinksRangesOfGridsWithoutACoarseScale) {
  const Layer layer(9, 96, 300, 12);
  const auto grid = make_grid({"int", 3, false, 32}).value();
  const dgq::SearchSettings settings;
  const auto found = dgq::search_params(layer.matrix(), layer.hessian.matrix(), *grid, settings);
  const auto wanted = dgq::reference_ranges(layer.matrix(), 4, layer.hessian.matrix(), *grid, settings);
  const std::size_t per_row = wanted.size();
  EXPECT_TRUE(std::equal(wanted.begin(), wanted.end(), found.begin() + 4 * per_row));
}

TEST(DgqSearch, NeverErrsMoreThanTheFullRange) {
  const Layer layer(12, 128, 400, 13);
  const Matrix<const float> w = layer.matrix(), h = layer.hessian.matrix();
  for (int bits : {2, 3, 4}) {
    const auto grid = dual(bits, 64);
    const dgq::SearchSettings settings, full{.range_steps = 1};
    for (std::int64_t r = 0; r < layer.rows; ++r) {
      const auto best = dgq::reference_ranges(w, r, h, *grid, settings);
      const auto widest = dgq::reference_ranges(w, r, h, *grid, full);
      for (std::size_t g = 0; g < 2; ++g) {
        std::vector<float> one = widest;
        std::copy_n(best.begin() + g * dual_params, dual_params, one.begin() + g * dual_params);
        EXPECT_LE(dgq::reference_error(w, r, h, *grid, one), dgq::reference_error(w, r, h, *grid, widest));
      }
    }
  }
}

// What integers cost: error under one coarse scale against error with a float scale for every group.
TEST(DgqSearch, LosesLittleToTheCoarseScale) {
  const Layer layer(24, 512, 1200, 14);
  const Matrix<const float> w = layer.matrix(), h = layer.hessian.matrix();
  for (const auto& [bits, most] : {std::pair(4, 1.15), {3, 1.02}, {2, 1.02}}) {
    const auto grid = dual(bits, 64);
    const dgq::SearchSettings settings;
    const auto found = dgq::search_params(w, h, *grid, settings);
    const std::size_t per_row = found.size() / layer.rows;
    double alone = 0, together = 0;
    for (std::int64_t r = 0; r < layer.rows; ++r) {
      alone += dgq::reference_error(w, r, h, *grid, dgq::reference_ranges(w, r, h, *grid, settings));
      together += dgq::reference_error(w, r, h, *grid, std::span(found).subspan(r * per_row, per_row));
    }
    EXPECT_LT(together, most * alone) << bits;
  }
}

TEST(DgqSearch, HandsOutOneCoarseScalePerRowAndIntegersInBounds) {
  const Layer layer(30, 150, 300, 15);
  for (int bits : {2, 3, 4}) {
    const auto found = dgq::search_params(layer.matrix(), layer.hessian.matrix(), *dual(bits, 32), {});
    const std::size_t per_row = found.size() / layer.rows;
    ASSERT_EQ(per_row, 5u * dual_params);
    for (std::size_t i = 0; i < found.size(); i += dual_params) {
      EXPECT_EQ(found[i + dual_coarse], found[i / per_row * per_row + dual_coarse]);
      EXPECT_EQ(found[i + dual_fine], std::rint(found[i + dual_fine]));
      EXPECT_GE(found[i + dual_fine], 1);
      EXPECT_LE(found[i + dual_fine] * static_cast<float>(dual_levels(bits)), 255);
      EXPECT_TRUE(found[i + dual_zero] >= 0 && found[i + dual_zero] <= static_cast<float>(dual_levels(bits)));
    }
  }
}

TEST(Dgq, GivesTheSameBytesAtAnyThreadCount) {
  const Layer layer(150, 300, 600, 16);
  const auto range = minmax();
  const auto grid = dual(3, 64);
  const int threads = thread_count();
  std::vector<GridPart> parts;
  for (int count : {1, 2, 3}) {
    set_thread_count(count);
    SolveReport report;
    parts.push_back(
        make_solver("dgq")->solve({"w", layer.matrix(), grid, range.get(), &layer.hessian}, report).value());
    EXPECT_EQ(parts.back().codes, parts[0].codes);
    EXPECT_EQ(parts.back().params, parts[0].params);
  }
  set_thread_count(threads);
}

TEST(Dgq, FeedbackOnFrozenScalesNeverHurtsAndUsuallyHelpsMuch) {
  const Layer layer(140, 256, 700, 17, {0, 100});
  const auto range = minmax();
  for (int bits : {2, 3, 4}) {
    const auto grid = dual(bits, 64);
    const auto params = dgq::search_params(layer.matrix(), layer.hessian.matrix(), *grid, {});
    const double searched = rounded_error(layer, grid, params);
    SolveReport report, ignored;
    const SolveInput input{"w", layer.matrix(), grid, range.get(), &layer.hessian};
    auto part = make_solver("dgq")->solve(input, report);
    VN_ASSERT_OK(part);
    const double error = total(testing::row_errors(*part, layer.matrix(), layer.hessian.matrix()));
    EXPECT_LT(error, 0.7 * searched) << bits;
    // Not only no worse than round to nearest: better than GPTQ with ranges that nobody searched.
    VN_ASSERT_OK(make_solver("gptq", {{"order", std::string("static")}})->solve(input, ignored));
    EXPECT_LT(report.error, ignored.error) << bits;
    EXPECT_EQ(report.error_rtn, ignored.error_rtn);
    EXPECT_EQ(report.dead_columns, 2);
  }
}

// Without a usable Hessian factor the searched scales still count.
TEST(Dgq, KeepsTheSearchWhereTheSweepIsImpossible) {
  const Layer layer(20, 64, 200, 18);
  const auto range = minmax();
  const auto grid = dual(2, 32);
  Hessian hopeless = testing::identity_hessian(64);
  hopeless.matrix()(3, 40) = hopeless.matrix()(40, 3) = 1e6f;  // across groups: the search does not see it
  SolveReport report;
  auto part = make_solver("dgq")->solve({"w", layer.matrix(), grid, range.get(), &hopeless}, report);
  VN_ASSERT_OK(part);
  EXPECT_NE(report.note, "");
  EXPECT_LE(report.error, report.error_rtn);
}

// Every solver on the dual grid: packs, and is never worse than round to nearest.
TEST(EverySolver, WorksOnGridsWithJointGroups) {
  const Layer layer(70, 150, 400, 19, {7});
  const auto range = minmax();
  for (const MethodDescriptor* method : methods()) {
    if (method->role != MethodDescriptor::Role::solver) continue;
    for (int bits : {2, 3, 4}) {
      const auto grid = dual(bits, 32);
      SolveReport report;
      const SolveInput input{"w", layer.matrix(), grid, range.get(), &layer.hessian};
      auto part = make_solver(method->name)->solve(input, report);
      VN_ASSERT_OK(part);
      EXPECT_LE(report.error, report.error_rtn) << method->name;
      for (std::int64_t r = 0; r < layer.rows; ++r)
        for (std::int64_t g = 0; g < part->groups(); ++g)
          EXPECT_EQ(part->params_of(r, g)[dual_coarse], part->params_of(r, 0)[dual_coarse]) << method->name;
      const FormatDescriptor* format = find_format("dual").value();
      std::vector<TensorView> views;
      const std::vector<Tensor> tensors = format->pack(*part);
      for (const Tensor& t : tensors) views.push_back(t.view());
      auto back = format->unpack(grid->spec(), layer.rows, layer.cols, views);
      VN_ASSERT_OK(back);
      EXPECT_EQ(back->codes, part->codes);
      EXPECT_EQ(back->params, part->params);
    }
  }
}

TEST(Gptq, RefusesToFormGroupsOfAJointGridDuringTheSweep) {
  const Layer layer(10, 64, 200, 20);
  const auto range = minmax();
  SolveReport report;
  auto refused = make_solver("gptq", {{"order", std::string("act")}})
                     ->solve({"w", layer.matrix(), dual(4, 32), range.get(), &layer.hessian, true}, report);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::unsupported);
  EXPECT_NE(refused.error().hint.find("static"), std::string::npos);
}

TEST(Dgq, ChecksItsOptions) {
  const MethodDescriptor* method = *find_method("dgq");
  const auto valid = [&](const char* name, const char* value) {
    return resolve_options(*method, {{name, value}}).ok();
  };
  EXPECT_TRUE(valid("least_range", "0.4"));
  EXPECT_FALSE(valid("least_range", "0"));
  EXPECT_FALSE(valid("least_range", "1.1"));
  EXPECT_FALSE(valid("range_steps", "0"));
  EXPECT_FALSE(valid("coarse_steps", "100000"));
  EXPECT_FALSE(valid("damp", "1"));
  EXPECT_FALSE(valid("order", "act"));
}

}  // namespace
}  // namespace vernier
