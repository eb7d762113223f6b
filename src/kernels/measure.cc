#include "kernels/measure.h"

#include <algorithm>
#include <atomic>
#include <functional>
#include <vector>

#include "base/stopwatch.h"
#include "base/threads.h"
#include "base/vectorize.h"
#include "kernels/onednn/api.h"
#include "kernels/ops.h"

namespace vernier::kernels {
namespace {

double seconds_of(const std::function<void()>& work) {
  const Stopwatch watch;
  work();
  return watch.seconds();
}

}  // namespace

VN_VECTORIZED std::uint64_t read_words(const std::uint64_t* at, std::int64_t count) {
  std::uint64_t lanes[64] = {};
  for (std::int64_t i = 0; i + 64 <= count; i += 64)
    for (int k = 0; k < 64; ++k) lanes[k] += at[i + k];
  std::uint64_t sum = 0;
  for (const std::uint64_t lane : lanes) sum += lane;
  return sum;
}

void read_bytes(std::span<const std::byte> bytes) {
  static std::atomic<std::uint64_t> sink;  // the sums are used, or the reads could be optimised away
  const auto* words = reinterpret_cast<const std::uint64_t*>(bytes.data());
  const auto count = static_cast<std::int64_t>(bytes.size() / 8), each = (count + thread_count() - 1) / thread_count();
  parallel_ranges(count, each,
                  [&](std::int64_t first, std::int64_t last) { sink += read_words(words + first, last - first); });
}

double measure_read_bytes_per_s(int workers) {
  const std::int64_t words_each = (std::int64_t{768} << 20) / 8 / workers / 64 * 64;
  std::vector<std::uint64_t> memory(words_each * workers, 1);
  std::vector<std::uint64_t> sums(workers);
  double best = 0;
  for (int pass = 0; pass < 4; ++pass) {
    const double seconds = seconds_of([&] {
      parallel_for(workers, [&](std::int64_t w) { sums[w] += read_words(memory.data() + w * words_each, words_each); });
    });
    best = std::max(best, static_cast<double>(words_each * workers * 8) / seconds);
  }
  // The sums are used, or the reads could be optimised away.
  return sums[0] == 0 ? 0 : best;
}

double measure_sgemm_flops_per_s(int workers) {
  constexpr std::int64_t n = 768;
  std::vector<float> a(n * n, 0.5f), b(n * n, 0.25f), c(n * n * workers);
  double best = 0;
  for (int pass = 0; pass < 4; ++pass) {
    const double seconds = seconds_of([&] {
      parallel_for(workers, [&](std::int64_t w) {
        sgemm({a.data(), n, n}, {b.data(), n, n}, true, {c.data() + w * n * n, n, n});
      });
    });
    if (pass > 0) best = std::max(best, 2.0 * n * n * n * workers / seconds);
  }
  return best;
}

Int8Product::Int8Product(std::int64_t tokens, std::int64_t rows, std::int64_t cols, int workers)
    : tokens_(tokens),
      rows_(rows),
      cols_(cols),
      workers_(workers),
      each_(rows / workers),
      x_(tokens * cols, 3),
      w_(rows * cols, 5),
      y_(tokens * rows) {}

bool Int8Product::run() {
  std::atomic<bool> good = each_ > 0;
  parallel_for(workers_, [&](std::int64_t i) {
    if (good && !onednn().gemm_u8s8(tokens_, each_, cols_, x_.data(), w_.data() + i * each_ * cols_,
                                    y_.data() + i * each_, rows_))
      good = false;
  });
  return good;
}

double measure_int8_ops_per_s(std::int64_t tokens, std::int64_t rows, std::int64_t cols, int workers) {
  Int8Product product(tokens, rows, cols, workers);
  double best = 0;
  for (int pass = 0; pass < 4; ++pass) {
    bool good = false;
    const double seconds = seconds_of([&] { good = product.run(); });
    if (!good) return 0;
    if (pass > 0) best = std::max(best, product.operations() / seconds);
  }
  return best;
}

}  // namespace vernier::kernels
