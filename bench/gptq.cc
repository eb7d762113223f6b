// How near to the bare matrix product GPTQ's parts come. Rates count only the arithmetic that is needed: one triangle
// of the Hessian, 2/3 n^3 of the factor, rows * cols^2 of the sweep and as much again for each of the two error forms
// that the report and the choice per row need. "of_sgemm" is the share of the rate of dnnl_sgemm on the same number of
// threads, measured in the same process.
#include <benchmark/benchmark.h>
#include <oneapi/dnnl/dnnl.h>

#include <chrono>
#include <cmath>
#include <numeric>

#include "base/random.h"
#include "base/threads.h"
#include "methods/gptq/factor.h"
#include "methods/method.h"

namespace vernier {
namespace {

std::vector<float> normal(std::int64_t count, std::uint64_t seed) {
  const Random random(seed);
  std::vector<float> values(count);
  parallel_ranges(count, 1 << 16, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) values[i] = random.normal(i);
  });
  return values;
}

// FLOP/s of dnnl_sgemm, one 1024^3 product per worker at a time.
double sgemm_rate() {
  static const double rate = [] {
    constexpr std::int64_t n = 1024;
    const int threads = thread_count();
    const auto a = normal(n * n, 1), b = normal(n * n, 2);
    std::vector<std::vector<float>> c(threads, std::vector<float>(n * n));
    const auto run = [&](std::int64_t count) {
      parallel_for(threads, [&](std::int64_t t) {
        for (std::int64_t i = 0; i < count; ++i)
          dnnl_sgemm('N', 'N', n, n, n, 1, a.data(), n, b.data(), n, 0, c[t].data(), n);
      });
    };
    run(2);
    const auto start = std::chrono::steady_clock::now();
    run(20);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    return 2.0 * n * n * n * 20 * threads / seconds.count();
  }();
  return rate;
}

void report(benchmark::State& state, double flop) {
  const double total = flop * static_cast<double>(state.iterations());
  state.counters["GFLOP/s"] = benchmark::Counter(total / 1e9, benchmark::Counter::kIsRate);
  state.counters["of_sgemm"] = benchmark::Counter(total / sgemm_rate(), benchmark::Counter::kIsRate);
}

void bare_sgemm(benchmark::State& state) {
  for (auto _ : state) state.SetIterationTime(1e9 / sgemm_rate());
  state.counters["GFLOP/s"] = sgemm_rate() / 1e9;
}
BENCHMARK(bare_sgemm)->UseManualTime()->Iterations(1);

void hessian_add(benchmark::State& state) {
  const std::int64_t cols = state.range(0), tokens = 512;
  const auto x = normal(tokens * cols, 3);
  Hessian h(cols);
  for (auto _ : state) h.add({x.data(), tokens, cols});
  report(state, static_cast<double>(tokens) * static_cast<double>(cols) * static_cast<double>(cols + 1));
}
BENCHMARK(hessian_add)->Arg(512)->Arg(2048)->Arg(8192)->Unit(benchmark::kMillisecond)->UseRealTime();

Hessian random_hessian(std::int64_t cols) {
  Hessian h(cols);
  const auto x = normal(1024 * cols, 4);
  h.add({x.data(), 1024, cols});
  h.finish();
  return h;
}

void inverse_factor(benchmark::State& state) {
  const std::int64_t n = state.range(0);
  const Hessian h = random_hessian(n);
  std::vector<std::int32_t> column(n);
  std::iota(column.begin(), column.end(), 0);
  for (auto _ : state) benchmark::DoNotOptimize(gptq::make_factor(h.matrix(), column, 0.01, 0.01));
  report(state, 2.0 / 3.0 * std::pow(static_cast<double>(n), 3));
}
BENCHMARK(inverse_factor)->Arg(512)->Arg(2048)->Arg(8192)->Unit(benchmark::kMillisecond)->UseRealTime();

// Everything after the factor: round to nearest, both errors, sweep, choice per row.
void solve_rows(benchmark::State& state) {
  const std::int64_t rows = state.range(0), cols = state.range(1);
  const Hessian h = random_hessian(cols);
  const auto w = normal(rows * cols, 5);
  const auto grid = make_grid({"int", 4, true, 128}).value();
  const auto range = std::move(make_range({})).value();
  const MethodDescriptor* method = find_method("gptq").value();
  std::vector<std::pair<std::string, OptionValue>> values;
  for (const OptionSchema& option : method->options) values.emplace_back(option.name, option.fallback);
  const auto solver = method->make_solver(Options(std::move(values)));
  SolveReport ignored;
  const auto solve = [&](std::int64_t count) {
    return solver->solve({"w", {w.data(), count, cols}, grid, range.get(), &h}, ignored).ok();
  };
  solve(1);  // makes the factor
  for (auto _ : state) benchmark::DoNotOptimize(solve(rows));
  report(state, 3.0 * static_cast<double>(rows) * static_cast<double>(cols) * static_cast<double>(cols));
}
BENCHMARK(solve_rows)
    ->Args({2048, 2048})
    ->Args({8192, 2048})
    ->Args({2048, 8192})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

}  // namespace
}  // namespace vernier

BENCHMARK_MAIN();
