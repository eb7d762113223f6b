// The search of GGUF's block types, all cores: millions of weights a second from floats to codes, beside a plain read
// of the same floats. Arguments: 1 with an importance of each column.
#include <benchmark/benchmark.h>

#include <chrono>
#include <string>

#include "base/random.h"
#include "base/threads.h"
#include "formats/gguf/block_type.h"
#include "methods/method.h"

namespace vernier {
namespace {

constexpr std::int64_t rows = 4096, cols = 4096;

const std::vector<float>& weights() {
  static const std::vector<float> values = [] {
    const Random random(1);
    std::vector<float> filled(rows * cols);
    parallel_ranges(rows * cols, 1 << 16, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t i = first; i < last; ++i) filled[i] = 0.05f * random.normal(i);
    });
    return filled;
  }();
  return values;
}

double read_seconds() {
  static const double seconds = [] {
    const float* const values = weights().data();
    double best = 1;
    for (int pass = 0; pass < 5; ++pass) {
      const auto begin = std::chrono::steady_clock::now();
      parallel_ranges(rows, 64, [&](std::int64_t first, std::int64_t last) {
        constexpr int lanes = 64;
        float sum[lanes] = {};
        for (std::int64_t i = first * cols; i < last * cols; i += lanes)
          for (int l = 0; l < lanes; ++l) sum[l] += values[i + l];
        benchmark::DoNotOptimize(sum);
      });
      best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    }
    return best;
  }();
  return seconds;
}

void encode(benchmark::State& state, const std::string& name) {
  const auto grid = make_grid(find_block_type(name)->spec()).value();
  const auto range = make_range({.method = "search"}).value();
  const auto solver = find_method("rtn").value()->make_solver(Options({{"importance", false}}));
  const std::vector<float> importance(state.range(0) ? cols : 0, 1.0f);
  SolveInput input{name, {weights().data(), rows, cols}, grid, range.get()};
  input.importance = importance;
  for (auto _ : state) {
    SolveReport report;
    benchmark::DoNotOptimize(solver->solve(input, report));
  }
  const double done = static_cast<double>(rows * cols) * static_cast<double>(state.iterations());
  state.counters["Mweights/s"] = benchmark::Counter(done * 1e-6, benchmark::Counter::kIsRate);
  state.counters["read_Mweights/s"] = static_cast<double>(rows * cols) * 1e-6 / read_seconds();
}

const int registered = [] {
  for (const char* name : {"q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_nl",
                           "iq4_xs", "tq2_0", "mxfp4"})
    benchmark::RegisterBenchmark(name, [name](benchmark::State& state) { encode(state, name); })
        ->ArgName("importance")
        ->Arg(0)
        ->Arg(1)
        ->UseRealTime()
        ->Unit(benchmark::kMillisecond);
  return 0;
}();

}  // namespace
}  // namespace vernier

BENCHMARK_MAIN();
