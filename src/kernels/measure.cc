#include "kernels/measure.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <vector>

#include "base/threads.h"
#include "formats/vectorize.h"
#include "kernels/onednn/api.h"
#include "kernels/ops.h"

namespace vernier::kernels {
namespace {

double seconds_of(const std::function<void()>& work) {
  const auto begun = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
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

double measure_int8_ops_per_s(std::int64_t tokens, std::int64_t rows, std::int64_t cols, int workers) {
  const std::int64_t each = rows / workers;
  std::vector<std::uint8_t> x(tokens * cols, 3);
  std::vector<std::int8_t> w(rows * cols, 5);
  std::vector<std::int32_t> y(tokens * rows);
  bool good = each > 0;
  double best = 0;
  for (int pass = 0; pass < 4 && good; ++pass) {
    const double seconds = seconds_of([&] {
      parallel_for(workers, [&](std::int64_t i) {
        if (!onednn().gemm_u8s8(tokens, each, cols, x.data(), w.data() + i * each * cols, y.data() + i * each, rows))
          good = false;
      });
    });
    if (pass > 0) best = std::max(best, 2.0 * tokens * each * workers * cols / seconds);
  }
  return good ? best : 0;
}

}  // namespace vernier::kernels
