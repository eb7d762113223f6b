// Attention over the KV cache on the shape of a 1.4 B llama (16 layers, 32 query and 8 kv heads of 64 dims), all
// layers a pass so that pages come from memory as in a model. Decoding stands beside the time that the machine needs
// to read the same bytes. Also the cost of handing work to the thread pool.
#include "kernels/attention/paged.h"

#include <benchmark/benchmark.h>

#include <atomic>
#include <vector>

#include "base/random.h"
#include "base/threads.h"
#include "kernels/scratch.h"

namespace vernier {
namespace {

constexpr std::int64_t kLayers = 16, kHeads = 32, kKvHeads = 8, kHeadDim = 64;

std::vector<float> numbers(std::int64_t count, std::uint64_t seed) {
  std::vector<float> values(count);
  const Random random(seed);
  parallel_ranges(count, 1 << 16, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) values[i] = random.normal(i);
  });
  return values;
}

// The pages of one sequence in all layers, filled with [0, tokens).
class Cache {
 public:
  Cache(kernels::KvType type, std::int64_t tokens) : layout_{type, kKvHeads, kHeadDim} {
    pages_ = (tokens + kernels::kPageTokens - 1) / kernels::kPageTokens;
    for (std::int64_t page = 0; page < pages_; ++page) table_.push_back(static_cast<std::int32_t>(page));
    pool_ = memory_.get(bytes());
    const auto k = numbers(tokens * kKvHeads * kHeadDim, 1), v = numbers(tokens * kKvHeads * kHeadDim, 2);
    for (std::int64_t layer = 0; layer < kLayers; ++layer) {
      const kernels::KvSequence all{0, tokens, 0, view(layer)};
      kernels::store_kv({&all, 1}, {k.data(), tokens, kKvHeads * kHeadDim}, {v.data(), tokens, kKvHeads * kHeadDim});
    }
  }
  kernels::KvPages view(std::int64_t layer) const {
    return {layout_, pool_ + layer * pages_ * layout_.page_bytes(), table_};
  }
  std::int64_t bytes() const { return kLayers * pages_ * layout_.page_bytes(); }
  const std::byte* data() const { return pool_; }

 private:
  kernels::KvLayout layout_;
  std::int64_t pages_;
  std::vector<std::int32_t> table_;
  kernels::Scratch<std::byte> memory_;
  std::byte* pool_;
};

// Arguments: page type, tokens of the batch, context they end at. Keys and values of the batch are stored, too.
void attention(benchmark::State& state) {
  const auto type = static_cast<kernels::KvType>(state.range(0));
  const std::int64_t tokens = state.range(1), context = state.range(2);
  const Cache cache(type, context);
  const auto q = numbers(tokens * kHeads * kHeadDim, 3), k = numbers(tokens * kKvHeads * kHeadDim, 4);
  std::vector<float> out(q.size());
  const kernels::AttentionShape shape{kHeads, kKvHeads, kHeadDim, 0, 0, 0.125f};
  for (auto _ : state) {
    for (std::int64_t layer = 0; layer < kLayers; ++layer) {
      const kernels::KvSequence sequence{0, tokens, context - tokens, cache.view(layer)};
      const Matrix<const float> rows(k.data(), tokens, kKvHeads * kHeadDim);
      kernels::store_kv({&sequence, 1}, rows, rows);
      kernels::paged_attention({q.data(), tokens, kHeads * kHeadDim}, {&sequence, 1}, shape,
                               {out.data(), tokens, kHeads * kHeadDim});
    }
  }
  const double passes = static_cast<double>(state.iterations());
  // Visible pairs of positions, two products of 2 FLOP a dim each.
  const double pairs = static_cast<double>(tokens) * static_cast<double>(2 * context - tokens + 1) / 2;
  state.counters["GFLOP/s"] =
      benchmark::Counter(1e-9 * passes * pairs * 4 * kHeadDim * kHeads * kLayers, benchmark::Counter::kIsRate);
  state.counters["GB/s"] =
      benchmark::Counter(1e-9 * passes * static_cast<double>(cache.bytes()), benchmark::Counter::kIsRate);
  state.SetLabel(std::string(name(type)));
}

// Reads as many bytes as `attention` does from pages of that type.
void read_pages(benchmark::State& state) {
  const Cache cache(static_cast<kernels::KvType>(state.range(0)), state.range(2));
  const auto* words = reinterpret_cast<const std::uint64_t*>(cache.data());
  std::atomic<std::uint64_t> total = 0;
  for (auto _ : state) {
    parallel_ranges(cache.bytes() / 8, 1 << 15, [&](std::int64_t first, std::int64_t last) {
      std::uint64_t sum[8] = {};
      for (std::int64_t i = first; i + 8 <= last; i += 8)
        for (int lane = 0; lane < 8; ++lane) sum[lane] += words[i + lane];
      total += sum[0] + sum[1] + sum[2] + sum[3] + sum[4] + sum[5] + sum[6] + sum[7];
    });
  }
  state.counters["GB/s"] = benchmark::Counter(
      1e-9 * static_cast<double>(state.iterations()) * static_cast<double>(cache.bytes()), benchmark::Counter::kIsRate);
}

void types_of(benchmark::internal::Benchmark* b, std::initializer_list<std::pair<std::int64_t, std::int64_t>> shapes) {
  for (std::int64_t type = 0; type < 4; ++type)
    for (const auto& [tokens, context] : shapes) b->Args({type, tokens, context});
  b->ArgNames({"type", "tokens", "context"})->UseRealTime()->Unit(benchmark::kMillisecond);
}

BENCHMARK(attention)->Apply([](auto* b) { types_of(b, {{1, 128}, {1, 4096}, {256, 256}, {256, 4096}}); });
BENCHMARK(read_pages)->Apply([](auto* b) { types_of(b, {{1, 4096}}); });

// One job with a piece for each worker, right after the one before.
void dispatch(benchmark::State& state) {
  for (auto _ : state) parallel_static(thread_count(), [](std::int64_t, std::int64_t) {});
}
BENCHMARK(dispatch)->UseRealTime();

}  // namespace
}  // namespace vernier

BENCHMARK_MAIN();
