// The Hadamard transform beside what bounds it: a copy of the same rows from memory to memory, in turns in one process.
// `ratio` is 1 at the bound. Sizes with an odd part pay for a product with the factor H_K as well (label "K x L").
#include <benchmark/benchmark.h>

#include <chrono>
#include <cstring>
#include <string>

#include "base/threads.h"
#include "kernels/hadamard/hadamard.h"

namespace vernier {
namespace {

template <class F>
double seconds(F f) {
  const auto begin = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// Arguments: rows, size.
void transform(benchmark::State& state) {
  const std::int64_t rows = state.range(0), n = state.range(1);
  const auto hadamard = kernels::Hadamard::make(n);
  if (!hadamard.ok()) return state.SkipWithError(hadamard.error().message.c_str());
  std::vector<float> x(rows * n, 1.0f), y(rows * n);
  double ours = 0, bound = 0;
  for (auto _ : state) {
    bound += seconds([&] {
      parallel_ranges(rows, 8, [&](std::int64_t first, std::int64_t last) {
        std::memcpy(y.data() + first * n, x.data() + first * n, (last - first) * n * sizeof(float));
      });
    });
    const double time = seconds([&] { hadamard->apply(Matrix<float>(x.data(), rows, n)); });
    ours += time;
    state.SetIterationTime(time);
  }
  const double numbers = static_cast<double>(rows * n) * static_cast<double>(state.iterations());
  state.counters["GB/s"] = 8e-9 * numbers / ours;  // read and written once
  state.counters["copy_GB/s"] = 8e-9 * numbers / bound;
  state.counters["ratio"] = bound / ours;
  state.SetLabel(std::to_string(hadamard->order()) + " x " + std::to_string(hadamard->length()));
}

BENCHMARK(transform)
    ->ArgNames({"rows", "size"})
    ->Args({65536, 64})
    ->Args({65536, 128})
    ->Args({2048, 4096})
    ->Args({1024, 8192})
    ->Args({1024, 14336})
    ->Args({1024, 11008})
    ->Args({1, 4096})
    ->Args({1, 14336})
    ->UseManualTime()
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace vernier

BENCHMARK_MAIN();
