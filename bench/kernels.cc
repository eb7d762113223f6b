// linear beside what bounds it, in turns in one process: with many tokens a bare dnnl_sgemm of the same shape on all
// threads, with one token a loop that only reads the weight's bytes. `ratio` is 1 at the bound.
#include <benchmark/benchmark.h>
#include <oneapi/dnnl/dnnl.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/random.h"
#include "base/threads.h"
#include "kernels/ops.h"
#include "tensor/convert.h"

namespace vernier {
namespace {

enum Stored : std::int64_t { f32, bf16, int4 };

std::vector<float> numbers(std::int64_t count) {
  std::vector<float> values(count);
  const Random random(1);
  parallel_ranges(count, 1 << 16, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) values[i] = static_cast<float>(random.uniform(i)) - 0.5f;
  });
  return values;
}

// A weight and the packed bytes it may refer to.
struct Weight {
  std::vector<Tensor> tensors;
  std::shared_ptr<const WeightMatrix> matrix;
};

Weight make_weight(std::int64_t stored, std::int64_t rows, std::int64_t cols) {
  Weight weight;
  if (stored != int4) {
    const DType dtype = stored == f32 ? DType::f32 : DType::bf16;
    Tensor tensor(dtype, {rows, cols});
    from_float(numbers(rows * cols), dtype, tensor.bytes());
    weight.matrix = dense_matrix(std::move(tensor));
    return weight;
  }
  const GridSpec spec{.bits = 4, .symmetric = true, .group = 128};
  GridPart part{make_grid(spec).value(), rows, cols, {}, {}, {}};
  part.codes.resize(rows * cols);
  for (std::size_t i = 0; i < part.codes.size(); ++i)
    part.codes[i] = static_cast<std::uint8_t>((i * 2654435761u >> 20) & 15);
  std::vector<float> params(part.grid->params_per_group());
  part.grid->params_from_range(-0.5f, 0.5f, params);
  for (std::int64_t i = 0; i < rows * part.groups(); ++i)
    part.params.insert(part.params.end(), params.begin(), params.end());
  const FormatDescriptor& format = *find_format("int").value();
  weight.tensors = format.pack(part);
  std::vector<TensorView> views;
  for (const Tensor& tensor : weight.tensors) views.push_back(tensor.view());
  weight.matrix = format.open(spec, rows, cols, views).value();
  return weight;
}

template <class F>
double seconds(F f) {
  const auto begin = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// Every worker multiplies its share of the rows in one call.
void bare_sgemm(std::int64_t tokens, std::int64_t rows, std::int64_t cols, const float* x, const float* w, float* y) {
  const std::int64_t share = (rows + thread_count() - 1) / thread_count();
  parallel_ranges(rows, share, [&](std::int64_t first, std::int64_t last) {
    dnnl_sgemm('N', 'T', tokens, last - first, cols, 1, x, cols, w + first * cols, cols, 0, y + first, rows);
  });
}

std::uint64_t read_all(const std::vector<std::uint64_t>& words) {
  constexpr std::int64_t kPiece = 1 << 15;
  std::atomic<std::uint64_t> total = 0;
  parallel_ranges(static_cast<std::int64_t>(words.size()), kPiece, [&](std::int64_t first, std::int64_t last) {
    std::uint64_t sum[8] = {};
    for (std::int64_t i = first; i + 8 <= last; i += 8)
      for (int lane = 0; lane < 8; ++lane) sum[lane] += words[i + lane];
    total += sum[0] + sum[1] + sum[2] + sum[3] + sum[4] + sum[5] + sum[6] + sum[7];
  });
  return total;
}

// Arguments: stored type, tokens, rows, cols.
void prefill(benchmark::State& state, DType compute) {
  const std::int64_t tokens = state.range(1), rows = state.range(2), cols = state.range(3);
  if (!kernels::set_compute(compute)) return state.SkipWithError("this CPU does not multiply that type");
  const Weight weight = make_weight(state.range(0), rows, cols);
  const std::vector<float> x = numbers(tokens * cols), w = numbers(rows * cols);
  std::vector<float> y(tokens * rows);
  double ours = 0, bound = 0;
  for (auto _ : state) {
    bound += seconds([&] { bare_sgemm(tokens, rows, cols, x.data(), w.data(), y.data()); });
    const double time = seconds([&] {
      kernels::linear({x.data(), tokens, cols}, *weight.matrix, {}, {y.data(), tokens, rows});
    });
    ours += time;
    state.SetIterationTime(time);
  }
  const double work = 2e-9 * static_cast<double>(tokens * rows * cols) * static_cast<double>(state.iterations());
  state.counters["GFLOP/s"] = work / ours;
  state.counters["sgemm_GFLOP/s"] = work / bound;
  state.counters["ratio"] = bound / ours;
  state.SetLabel(weight.matrix->format_text());
  kernels::set_compute(DType::f32);
}

void decode(benchmark::State& state) {
  const std::int64_t tokens = state.range(1), rows = state.range(2), cols = state.range(3);
  const Weight weight = make_weight(state.range(0), rows, cols);
  const std::vector<float> x = numbers(tokens * cols);
  const std::vector<std::uint64_t> words(weight.matrix->stored_bytes() / 8, 1);
  std::vector<float> y(tokens * rows);
  double ours = 0, bound = 0;
  for (auto _ : state) {
    bound += seconds([&] { benchmark::DoNotOptimize(read_all(words)); });
    const double time = seconds([&] {
      kernels::linear({x.data(), tokens, cols}, *weight.matrix, {}, {y.data(), tokens, rows});
    });
    ours += time;
    state.SetIterationTime(time);
  }
  const double gigabytes = 1e-9 * static_cast<double>(weight.matrix->stored_bytes() * state.iterations());
  state.counters["GB/s"] = gigabytes / ours;
  state.counters["read_GB/s"] = gigabytes / bound;
  state.counters["ratio"] = bound / ours;
  state.SetLabel(weight.matrix->format_text());
}

void prefill_shapes(benchmark::internal::Benchmark* b) {
  for (std::int64_t stored : {f32, bf16, int4}) {
    b->Args({stored, 512, 2048, 2048})->Args({stored, 512, 8192, 2048})->Args({stored, 512, 2048, 8192});
    b->Args({stored, 512, 512, 2048});
  }
  b->ArgNames({"stored", "tokens", "rows", "cols"})->UseManualTime()->Unit(benchmark::kMillisecond);
}

// Beyond any last-level cache.
void decode_shapes(benchmark::internal::Benchmark* b) {
  for (std::int64_t stored : {f32, bf16, int4}) b->Args({stored, 1, 16384, 8192})->Args({stored, 4, 16384, 8192});
  b->ArgNames({"stored", "tokens", "rows", "cols"})->UseManualTime()->Unit(benchmark::kMillisecond);
}

BENCHMARK_CAPTURE(prefill, f32, DType::f32)->Apply(prefill_shapes);
BENCHMARK_CAPTURE(prefill, bf16, DType::bf16)->Apply(prefill_shapes);
BENCHMARK(decode)->Apply(decode_shapes);

}  // namespace
}  // namespace vernier

BENCHMARK_MAIN();
