// What being registered earns a solver.
#include <gtest/gtest.h>

#include <cmath>

#include "base/threads.h"
#include "methods/solver_support.h"
#include "support/support.h"

namespace vernier {
namespace {

using testing::Layer;
using testing::make_solver;

TEST(EverySolver, RefusesWeightsThatAreNotFinite) {
  const auto range = std::move(make_range({})).value();
  const auto grid = make_grid({"int", 4, true, 32}).value();
  for (const MethodDescriptor* method : methods()) {
    if (method->role != MethodDescriptor::Role::solver) continue;
    for (float bad : {std::nanf(""), INFINITY, -INFINITY}) {
      Layer layer(200, 64, 80, 4);
      layer.weight[170 * 64 + 3] = bad;
      layer.weight[130 * 64 + 5] = bad;
      SolveReport report;
      auto part =
          make_solver(method->name)->solve({"blk.w", layer.matrix(), grid, range.get(), &layer.hessian}, report);
      ASSERT_FALSE(part.ok()) << method->name;
      EXPECT_EQ(part.error().code, ErrorCode::invalid);
      EXPECT_NE(part.error().message.find("blk.w"), std::string::npos);
      EXPECT_NE(part.error().message.find("row 130, column 5"), std::string::npos) << part.error().message;
    }
  }
}

TEST(EverySolver, GivesTheSameBytesAtAnyThreadCount) {
  const Layer layer(300, 200, 400, 5);
  const auto range = std::move(make_range({.method = "mse"})).value();
  const int threads = thread_count();
  for (const MethodDescriptor* method : methods()) {
    if (method->role != MethodDescriptor::Role::solver) continue;
    for (std::int64_t group : {-1, 64}) {
      const auto grid = make_grid({"int", 3, false, group}).value();
      std::vector<GridPart> parts;
      std::vector<SolveReport> reports(3);
      for (int count : {1, 2, 3}) {
        set_thread_count(count);
        parts.push_back(make_solver(method->name)
                            ->solve({"w", layer.matrix(), grid, range.get(), &layer.hessian}, reports[count - 1])
                            .value());
        EXPECT_EQ(parts.back().codes, parts[0].codes) << method->name;
        EXPECT_EQ(parts.back().params, parts[0].params) << method->name;
        EXPECT_EQ(reports[count - 1].error, reports[0].error);
        EXPECT_EQ(reports[count - 1].error_rtn, reports[0].error_rtn);
      }
    }
  }
  set_thread_count(threads);
}

TEST(EverySolver, IsNeverWorseThanRoundToNearestUnderTheSameHessian) {
  for (const MethodDescriptor* method : methods()) {
    if (method->role != MethodDescriptor::Role::solver) continue;
    for (std::int64_t tokens : {30, 500})  // fewer and more than columns
      for (int bits : {2, 4})
        for (std::int64_t group : {-1, 0, 24, 64}) {
          const Layer layer(150, 120, tokens, 6 + bits, {3, 60, 61});
          const auto range = std::move(make_range({})).value();
          const auto grid = make_grid({"int", bits, bits > 2, group}).value();
          SolveReport report;
          const SolveInput input{"w", layer.matrix(), grid, range.get(), &layer.hessian};
          auto part = make_solver(method->name)->solve(input, report);
          VN_ASSERT_OK(part);
          SolveReport ignored;
          const auto nearest = make_solver("rtn")->solve(input, ignored).value();
          const auto errors = testing::row_errors(*part, layer.matrix(), layer.hessian.matrix());
          const auto limits = testing::row_errors(nearest, layer.matrix(), layer.hessian.matrix());
          for (std::size_t r = 0; r < errors.size(); ++r)
            EXPECT_LE(errors[r], limits[r] * (1 + 1e-5)) << method->name << " row " << r;
          EXPECT_LE(report.error, report.error_rtn);
        }
  }
}

TEST(Methods, UnknownNamesSuggestTheNearest) {
  auto method = find_method("gptw");
  ASSERT_FALSE(method.ok());
  EXPECT_EQ(method.error().code, ErrorCode::not_found);
  EXPECT_NE(method.error().hint.find("gptq"), std::string::npos);
  VN_EXPECT_OK(find_method("gptq"));
}

}  // namespace
}  // namespace vernier
