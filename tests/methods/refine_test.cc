#include "methods/gptq/refine.h"

#include <gtest/gtest.h>

#include "base/threads.h"
#include "formats/gguf/block_type.h"
#include "methods/gptq/solve.h"
#include "methods/solver_support.h"
#include "support/support.h"

namespace vernier {
namespace {

using testing::Layer;

GridPart solved(const Layer& layer, const std::string& format, std::int64_t refine, SolveReport& report) {
  SolveInput input{"w", layer.matrix(), make_grid(find_block_type(format)->spec()).value()};
  const auto range = make_range({.method = "search"}).value();
  input.range = range.get();
  input.hessian = &layer.hessian;
  gptq::Gptq solver(
      {.damp = 0.01, .damp_step = 0.01, .order = gptq::Order::group_aware, .block = 128, .refine = refine});
  return solver.solve(input, {}, report).value();
}

double total(const GridPart& part, const Layer& layer) {
  double sum = 0;
  for (double e : testing::row_errors(part, layer.matrix(), layer.hessian.matrix())) sum += e;
  return sum;
}

// Where no group has a scale of its own to move, the shared ones and the codes still do.
TEST(GptqRefine, RefitsScalesOfSingleBlocks) {
  const Layer layer(40, 128, 600, 17);
  for (const char* format : {"q4_0", "q4_1", "iq4_nl"}) {
    SolveReport plain, refined;
    const GridPart before = solved(layer, format, 0, plain), after = solved(layer, format, 4, refined);
    EXPECT_LT(total(after, layer), 0.99 * total(before, layer)) << format;
    EXPECT_NE(before.params, after.params) << format;
  }
}

TEST(GptqRefine, LowersTheErrorOfEveryRowOnSuperBlocks) {
  const Layer layer(140, 300, 900, 61);  // a second tile, a second block that is partly used
  for (const char* format : {"q2_k", "q3_k", "q4_k"}) {
    SolveReport plain, refined;
    const GridPart before = solved(layer, format, 0, plain), after = solved(layer, format, 4, refined);
    const auto old_errors = testing::row_errors(before, layer.matrix(), layer.hessian.matrix());
    const auto new_errors = testing::row_errors(after, layer.matrix(), layer.hessian.matrix());
    for (std::size_t r = 0; r < old_errors.size(); ++r) EXPECT_LE(new_errors[r], old_errors[r] * 1.001) << format << r;
    EXPECT_LT(total(after, layer), 0.95 * total(before, layer)) << format;
    EXPECT_LT(refined.error, 0.95 * plain.error) << format;
  }
}

TEST(GptqRefine, LeavesASettledRow) {
  const Layer layer(8, 300, 900, 62);
  SolveReport report;
  const GridPart part = solved(layer, "q2_k", 3, report);
  const std::size_t row = part.params.size() / part.rows;
  for (std::int64_t r = 0; r < part.rows; ++r) {
    const auto at = part.params.begin() + static_cast<std::ptrdiff_t>(r * row);
    std::vector<float> settled(at, at + static_cast<std::ptrdiff_t>(row));
    const std::vector<float> found = settled;
    part.grid->settle_row(settled);
    EXPECT_EQ(settled, found) << r;
  }
}

TEST(GptqRefine, CannotMoveFromAFixedPoint) {
  const Layer layer(20, 256, 900, 63);
  SolveReport report;
  GridPart part = solved(layer, "q3_k", 60, report);
  const GridPart before = part;
  gptq::refine_rows(layer.matrix(), layer.hessian.matrix(), 0, part.rows, 1, part);
  EXPECT_EQ(part.codes, before.codes);
  EXPECT_EQ(part.params, before.params);
}

TEST(GptqRefine, DoesNotDependOnThreads) {
  const Layer layer(300, 256, 600, 64);
  SolveReport report;
  set_thread_count(1);
  const GridPart one = solved(layer, "q2_k", 3, report);
  set_thread_count(3);
  const GridPart three = solved(layer, "q2_k", 3, report);
  set_thread_count(0);
  EXPECT_EQ(one.codes, three.codes);
  EXPECT_EQ(one.params, three.params);
}

TEST(GptqRefine, TakesColumnsThatNoTokenActivated) {
  const Layer layer(10, 256, 600, 65, {3, 200});
  SolveReport report;
  const GridPart before = solved(layer, "q3_k", 0, report);
  GridPart after = before;
  gptq::refine_rows(layer.matrix(), layer.hessian.matrix(), 0, after.rows, 1, after);
  EXPECT_LT(total(after, layer), total(before, layer));
}

TEST(GptqRefine, IntegersMoveTheirCodesAlone) {
  const Layer layer(10, 256, 600, 66);
  SolveReport report;
  const auto range = make_range({}).value();
  const SolveInput input{"w", layer.matrix(), make_grid({"int", 3, false, 32}).value(), range.get(), &layer.hessian};
  const GridPart before = testing::make_solver("rtn")->solve(input, report).value();
  GridPart after = before;
  gptq::refine_rows(layer.matrix(), layer.hessian.matrix(), 2, 8, 2, after);
  EXPECT_EQ(after.params, before.params);
  EXPECT_TRUE(std::equal(after.codes.begin(), after.codes.begin() + 2 * after.cols, before.codes.begin()));
  EXPECT_LT(total(after, layer), 0.9 * total(before, layer));
}

}  // namespace
}  // namespace vernier
