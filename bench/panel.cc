// Products on packed panels beside what bounds them, in turns in one process. `ratio` is 1 at the bound: with few
// tokens a loop that only reads as many bytes, from a set of weights that no cache holds; with many, oneDNN's u8 s8
// product of the same shape on all threads.
#include <benchmark/benchmark.h>

#include <vector>

#include "base/stopwatch.h"
#include "base/threads.h"
#include "eval/panel_stock.h"
#include "kernels/measure.h"

namespace vernier {
namespace {

using kernels::PanelKind;
using kernels::PanelSpec;

constexpr std::int64_t kStreamedBytes = std::int64_t{640} << 20;  // beyond any last-level cache

template <class F>
double seconds(F f) {
  const Stopwatch watch;
  f();
  return watch.seconds();
}

PanelSpec spec_of(const benchmark::State& state) {
  return {static_cast<PanelKind>(state.range(0)), static_cast<int>(state.range(1)), state.range(3), state.range(4),
          128};
}

// Arguments: kind, bits, tokens, rows, cols.
void stream(benchmark::State& state) {
  const PanelSpec spec = spec_of(state);
  const std::int64_t tokens = state.range(2);
  const PanelStock weights(spec, kStreamedBytes);
  const kernels::QuantizedRows x = weights.activations(tokens);
  const auto count = static_cast<std::int64_t>(weights.matrices().size());
  std::vector<float> y(tokens * spec.rows);
  double ours = 0, bound = 0;
  for (auto _ : state) {
    bound += seconds([&] { weights.read(count); });
    const double time = seconds([&] {
      for (const auto& matrix : weights.matrices())
        kernels::panel_linear(x, *matrix, {}, {y.data(), tokens, spec.rows});
    });
    ours += time;
    state.SetIterationTime(time);
  }
  const double gigabytes = 1e-9 * static_cast<double>(weights.matrix_bytes() * count * state.iterations());
  state.counters["GB/s"] = gigabytes / ours;
  state.counters["read_GB/s"] = gigabytes / bound;
  state.counters["ratio"] = bound / ours;
  state.SetLabel(weights.matrices()[0]->format_text());
}

void tile(benchmark::State& state) {
  const PanelSpec spec = spec_of(state);
  const std::int64_t tokens = state.range(2);
  const PanelStock weights(spec);
  const kernels::QuantizedRows x = weights.activations(tokens);
  std::vector<float> y(tokens * spec.rows);
  kernels::Int8Product reference(tokens, spec.rows, spec.cols, thread_count());
  double ours = 0, bound = 0;
  for (auto _ : state) {
    bound += seconds([&] { reference.run(); });
    const double time = seconds([&] {
      kernels::panel_linear(x, *weights.matrices()[0], {}, {y.data(), tokens, spec.rows});
    });
    ours += time;
    state.SetIterationTime(time);
  }
  const double work = 1e-9 * reference.operations() * static_cast<double>(state.iterations());
  state.counters["GOP/s"] = work / ours;
  state.counters["onednn_GOP/s"] = work / bound;
  state.counters["ratio"] = bound / ours;
  state.SetLabel(weights.matrices()[0]->format_text());
}

struct MatrixSize {
  std::int64_t rows, cols;
};
constexpr MatrixSize kShapes[] = {{2048, 2048}, {8192, 2048}, {2048, 8192}, {512, 2048}};
constexpr std::pair<PanelKind, int> kFormats[] = {{PanelKind::dual, 4},  {PanelKind::dual, 3},  {PanelKind::dual, 2},
                                                  {PanelKind::group, 4}, {PanelKind::group, 8}, {PanelKind::plain, 8},
                                                  {PanelKind::plain, 2}};

void shapes(benchmark::internal::Benchmark* b, std::initializer_list<std::int64_t> tokens) {
  for (const auto& [kind, bits] : kFormats) {
    for (std::int64_t t : tokens) {
      for (const MatrixSize& s : kShapes) b->Args({static_cast<std::int64_t>(kind), bits, t, s.rows, s.cols});
    }
  }
  b->ArgNames({"kind", "bits", "tokens", "rows", "cols"})->UseManualTime()->Unit(benchmark::kMillisecond);
}

BENCHMARK(stream)->Apply([](benchmark::internal::Benchmark* b) { shapes(b, {1, 4, 8}); });
BENCHMARK(tile)->Apply([](benchmark::internal::Benchmark* b) { shapes(b, {8, 32, 256}); });

}  // namespace
}  // namespace vernier

BENCHMARK_MAIN();
