// Products on packed panels beside what bounds them, in turns in one process. `ratio` is 1 at the bound: with few
// tokens a loop that only reads as many bytes, from a set of weights that no cache holds; with many, oneDNN's u8 s8
// product of the same shape on all threads.
#include <benchmark/benchmark.h>

#include <chrono>
#include <cstring>
#include <memory>
#include <vector>

#include "base/random.h"
#include "base/threads.h"
#include "kernels/measure.h"
#include "kernels/onednn/api.h"
#include "kernels/panel/panel.h"

namespace vernier {
namespace {

using kernels::PanelKind;
using kernels::PanelMatrix;
using kernels::PanelSpec;

constexpr std::int64_t kStreamedBytes = std::int64_t{640} << 20;  // beyond any last-level cache

struct Weights {
  std::vector<Tensor> bytes;
  std::vector<std::shared_ptr<const PanelMatrix>> matrices;  // of equal contents
};

Weights make_weights(const PanelSpec& spec, std::int64_t count) {
  const Random random(1);
  const auto fill = [&](std::int64_t n, int top) {
    std::vector<std::uint8_t> v(n);
    for (std::int64_t i = 0; i < n; ++i) v[i] = static_cast<std::uint8_t>(random.below(i, top + 1));
    return v;
  };
  const int top = (1 << spec.bits) - 1;
  const std::int64_t grids = spec.rows * spec.groups();
  const std::vector<std::uint8_t> codes = fill(spec.rows * spec.cols, top), zeros = fill(grids, top);
  const std::vector<std::uint8_t> fine = fill(spec.kind == PanelKind::dual ? grids : 0, 15);
  const std::vector<float> scales(spec.kind == PanelKind::group ? grids : spec.rows, 0.01f);
  Weights weights;
  for (std::int64_t i = 0; i < count; ++i) {
    Tensor& bytes = weights.bytes.emplace_back(DType::u8, Shape{kernels::panel_bytes(spec)});
    if (i == 0) {
      if (!kernels::pack_panels(spec, {codes, scales, fine, zeros}, bytes.bytes()).ok()) std::abort();
    } else {
      std::memcpy(bytes.bytes().data(), weights.bytes[0].bytes().data(), bytes.bytes().size());
    }
    weights.matrices.push_back(PanelMatrix::open(spec, bytes.bytes(), nullptr).value());
  }
  return weights;
}

template <class F>
double seconds(F f) {
  const auto begin = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// Every worker reads its share of each tensor in one run.
void read_all(const std::vector<Tensor>& tensors) {
  for (const Tensor& tensor : tensors) {
    const auto words = tensor.as<std::uint64_t>();
    const std::int64_t count = static_cast<std::int64_t>(words.size());
    parallel_ranges(count, (count + thread_count() - 1) / thread_count(), [&](std::int64_t first, std::int64_t last) {
      benchmark::DoNotOptimize(kernels::read_words(words.data() + first, last - first));
    });
  }
}

PanelSpec spec_of(const benchmark::State& state) {
  return {static_cast<PanelKind>(state.range(0)), static_cast<int>(state.range(1)), state.range(3), state.range(4),
          128};
}

kernels::QuantizedRows quantized(const PanelMatrix& matrix, std::int64_t tokens) {
  std::vector<float> x(tokens * matrix.cols());
  const Random random(2);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = random.normal(i);
  kernels::QuantizedRows rows;
  kernels::quantize_rows({x.data(), tokens, matrix.cols()}, kernels::rows_format(matrix), rows);
  return rows;
}

// Arguments: kind, bits, tokens, rows, cols.
void stream(benchmark::State& state) {
  const PanelSpec spec = spec_of(state);
  const std::int64_t tokens = state.range(2), size = kernels::panel_bytes(spec);
  const Weights weights = make_weights(spec, kStreamedBytes / size + 1);
  const kernels::QuantizedRows x = quantized(*weights.matrices[0], tokens);
  std::vector<float> y(tokens * spec.rows);
  double ours = 0, bound = 0;
  for (auto _ : state) {
    bound += seconds([&] { read_all(weights.bytes); });
    const double time = seconds([&] {
      for (const auto& matrix : weights.matrices) kernels::panel_linear(x, *matrix, {}, {y.data(), tokens, spec.rows});
    });
    ours += time;
    state.SetIterationTime(time);
  }
  const double gigabytes = 1e-9 * static_cast<double>(size * std::ssize(weights.matrices) * state.iterations());
  state.counters["GB/s"] = gigabytes / ours;
  state.counters["read_GB/s"] = gigabytes / bound;
  state.counters["ratio"] = bound / ours;
  state.SetLabel(weights.matrices[0]->format_text());
}

void tile(benchmark::State& state) {
  const PanelSpec spec = spec_of(state);
  const std::int64_t tokens = state.range(2);
  const Weights weights = make_weights(spec, 1);
  const kernels::QuantizedRows x = quantized(*weights.matrices[0], tokens);
  std::vector<float> y(tokens * spec.rows);
  const std::vector<std::uint8_t> a(tokens * spec.cols, 3);
  const std::vector<std::int8_t> b(spec.rows * spec.cols, 5);
  std::vector<std::int32_t> c(tokens * spec.rows);
  double ours = 0, bound = 0;
  for (auto _ : state) {
    bound += seconds([&] {
      parallel_ranges(spec.rows, (spec.rows + thread_count() - 1) / thread_count(),
                      [&](std::int64_t first, std::int64_t last) {
                        kernels::onednn().gemm_u8s8(tokens, last - first, spec.cols, a.data(),
                                                    b.data() + first * spec.cols, c.data() + first, spec.rows);
                      });
    });
    const double time = seconds([&] {
      kernels::panel_linear(x, *weights.matrices[0], {}, {y.data(), tokens, spec.rows});
    });
    ours += time;
    state.SetIterationTime(time);
  }
  const double work =
      2e-9 * static_cast<double>(tokens * spec.rows * spec.cols) * static_cast<double>(state.iterations());
  state.counters["GOP/s"] = work / ours;
  state.counters["onednn_GOP/s"] = work / bound;
  state.counters["ratio"] = bound / ours;
  state.SetLabel(weights.matrices[0]->format_text());
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
