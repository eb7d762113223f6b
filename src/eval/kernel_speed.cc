#include "eval/kernel_speed.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <functional>

#include "base/interrupt.h"
#include "base/progress.h"
#include "base/random.h"
#include "base/stopwatch.h"
#include "base/threads.h"
#include "eval/panel_stock.h"
#include "eval/speed.h"
#include "kernels/attention/paged.h"
#include "kernels/measure.h"
#include "kernels/ops.h"

namespace vernier {
namespace {

using kernels::KvType;
using kernels::PanelKind;
using kernels::PanelSpec;

constexpr std::int64_t kStreamedBytes = std::int64_t{512} << 20;  // beyond the caches
constexpr double kLongSeconds = 0.4;                              // a first run that took longer is not repeated
constexpr std::int64_t kPromptTokens = 256, kHeads = 32, kKvHeads = 8, kHeadDim = 64, kContext = 4096, kGroup = 128;

struct MatrixSize {
  std::int64_t rows, cols;
};
constexpr MatrixSize kSizes[] = {{2048, 2048}, {8192, 2048}, {2048, 8192}, {512, 2048}};
constexpr std::pair<PanelKind, int> kFormats[] = {{PanelKind::dual, 4},  {PanelKind::dual, 3},  {PanelKind::dual, 2},
                                                  {PanelKind::group, 4}, {PanelKind::group, 8}, {PanelKind::plain, 8},
                                                  {PanelKind::plain, 6}, {PanelKind::plain, 2}};

std::vector<float> numbers(std::int64_t count, std::uint64_t seed) {
  std::vector<float> values(count);
  const Random random(seed);
  for (std::int64_t i = 0; i < count; ++i) values[i] = random.normal(i);
  return values;
}

// What is timed, and its bound; both return the work they did, in bytes or operations.
struct Contest {
  std::string kernel, shape, unit, limit;
  std::function<void()> prepare;  // under the instruction set in force
  std::function<double()> ours, bound;
};

class Bench {
 public:
  explicit Bench(const KernelSpeedOptions& options) : options_(options), best_(name(best_isa())) {}
  ~Bench() { force_isa(best_); }

  Result<std::vector<KernelSpeed>> run() {
    Progress progress("bench kernels", std::size(kFormats) * std::size(kSizes) + 2);
    for (const auto& [kind, bits] : kFormats) {
      for (const MatrixSize& size : kSizes) {
        VN_TRY(products({kind, bits, size.rows, size.cols, kGroup}));
        progress.advance(1);
      }
    }
    for (const KvType type : {KvType::f16, KvType::int8, KvType::int4}) VN_TRY(attention(type));
    progress.advance(1);
    VN_TRY(between_products());
    progress.advance(1);
    return std::move(results_);
  }

 private:
  bool wanted(const std::string& kernel) const { return kernel.find(options_.only) != std::string::npos; }

  Status hold(const Contest& c) {
    for (const Isa isa : options_.isas) {
      VN_TRY(check_interrupt());
      force_isa(name(isa));
      if (c.prepare) c.prepare();
      const double first = rate_of(c.ours);
      const bool slow = last_seconds_ > kLongSeconds;
      rate_of(c.bound);
      std::vector<double> ours, bound;
      for (int i = 0; i < options_.repetitions; ++i) {
        bound.push_back(rate_of(c.bound));
        ours.push_back(slow ? first : rate_of(c.ours));
      }
      results_.push_back({c.kernel, c.shape, std::string(name(isa)), c.unit, c.limit, median(ours), median(bound)});
    }
    return {};
  }

  Status products(const PanelSpec& spec) {
    const std::string kernel = fmt::format("product {} int{}", name(spec.kind), spec.bits);
    if (!wanted(kernel)) return {};
    const PanelStock stock(spec, kStreamedBytes);
    const auto all = static_cast<std::int64_t>(stock.matrices().size());
    const std::string size = fmt::format("{} x {}", spec.rows, spec.cols);
    kernels::QuantizedRows x;
    std::vector<float> y(kPromptTokens * spec.rows);
    const auto multiply = [&](std::int64_t i) {
      kernels::panel_linear(x, *stock.matrices()[i], {}, {y.data(), x.tokens(), spec.rows});
    };
    for (const std::int64_t tokens : {1, 8}) {
      // Slow paths stop early: they are bound by arithmetic, not by memory.
      const auto stream = [&] {
        const Stopwatch watch;
        std::int64_t i = 0;
        while (i < all && watch.seconds() < kLongSeconds / 2) multiply(i++);
        return static_cast<double>(i * stock.matrix_bytes());
      };
      const auto read = [&] {
        stock.read(all);
        return static_cast<double>(all * stock.matrix_bytes());
      };
      VN_TRY(hold({kernel, fmt::format("{}, tokens {}", size, tokens), "GB/s", "read loop",
                   [&] { x = stock.activations(tokens); }, stream, read}));
    }
    kernels::Int8Product bound(kPromptTokens, spec.rows, spec.cols, thread_count());
    const auto tile = [&] {
      multiply(0);
      return bound.operations();
    };
    const auto onednn = [&] { return bound.run() ? bound.operations() : 0.0; };
    return hold({kernel, fmt::format("{}, tokens {}", size, kPromptTokens), "GOP/s", "oneDNN int8",
                 [&] { x = stock.activations(kPromptTokens); }, tile, onednn});
  }

  // One query over a long context, pages of several layers so that they come from memory.
  Status attention(KvType type) {
    const std::string kernel = fmt::format("attention {}", name(type));
    if (!wanted(kernel)) return {};
    const kernels::KvLayout layout(type, kKvHeads, kHeadDim);
    const std::int64_t pages = kContext / kernels::kPageTokens, layer_bytes = pages * layout.page_bytes();
    const std::int64_t layers = kStreamedBytes / layer_bytes;
    Tensor pool(DType::u8, {layers * layer_bytes});
    std::vector<std::int32_t> table(pages);
    for (std::int64_t i = 0; i < pages; ++i) table[i] = static_cast<std::int32_t>(i);
    const auto sequence = [&](std::int64_t layer, std::int64_t tokens) {
      return kernels::KvSequence{
          0, tokens, kContext - tokens, {layout, pool.bytes().data() + layer * layer_bytes, table}};
    };
    const std::vector<float> keys = numbers(kContext * kKvHeads * kHeadDim, 1);
    const Matrix<const float> rows(keys.data(), kContext, kKvHeads * kHeadDim);
    const auto first = sequence(0, kContext);
    kernels::store_kv({&first, 1}, rows, rows);
    for (std::int64_t layer = 1; layer < layers; ++layer)
      std::memcpy(pool.bytes().data() + layer * layer_bytes, pool.bytes().data(), layer_bytes);

    const std::vector<float> q = numbers(kHeads * kHeadDim, 3);
    std::vector<float> out(q.size());
    const kernels::AttentionShape shape{kHeads, kKvHeads, kHeadDim, 0, 0, 0.125f};
    const auto attend = [&] {
      const Stopwatch watch;
      std::int64_t layer = 0;
      for (; layer < layers && watch.seconds() < kLongSeconds / 2; ++layer) {
        const auto one = sequence(layer, 1);
        kernels::paged_attention({q.data(), 1, kHeads * kHeadDim}, {&one, 1}, shape,
                                 {out.data(), 1, kHeads * kHeadDim});
      }
      return static_cast<double>(layer * layer_bytes);
    };
    const auto read = [&] {
      kernels::read_bytes(pool.bytes());
      return static_cast<double>(layers * layer_bytes);
    };
    return hold({kernel, fmt::format("context {}, tokens 1", kContext), "GB/s", "read loop", {}, attend, read});
  }

  // Each reads and writes its rows once; a copy is what that costs at least.
  Status between_products() {
    constexpr std::int64_t cols = 8192;
    const std::vector<float> start = numbers(kPromptTokens * cols, 5), weight(cols, 1.0f);
    std::vector<float> x = start, y = start;
    std::vector<std::int64_t> positions(kPromptTokens);
    for (std::int64_t i = 0; i < kPromptTokens; ++i) positions[i] = i;
    const std::vector<float> frequencies(kHeadDim / 2, 0.01f);
    const Matrix<float> rows(x.data(), kPromptTokens, cols);
    const Matrix<const float> other(start.data(), kPromptTokens, cols);
    kernels::QuantizedRows codes;
    const std::pair<const char*, std::function<void()>> ops[] = {
        {"rms_norm", [&] { kernels::rms_norm(other, weight, 1e-5f, 0, 0, rows); }},
        {"rope", [&] { kernels::rope(rows, positions, frequencies, 1, kHeadDim); }},
        {"silu", [&] { kernels::silu(rows); }},
        {"multiply", [&] { kernels::multiply(rows, other); }},
        {"add", [&] { kernels::add(rows, other); }},
        {"quantize_rows", [&] { kernels::quantize_rows(other, {}, codes); }},
    };
    const double bytes = 2.0 * 4 * kPromptTokens * cols;
    const auto copy = [&] {
      parallel_ranges(kPromptTokens, kPromptTokens / thread_count() + 1, [&](std::int64_t first, std::int64_t last) {
        std::memcpy(y.data() + first * cols, start.data() + first * cols, (last - first) * cols * 4);
      });
      return bytes;
    };
    for (const auto& [kernel, op] : ops) {
      if (!wanted(kernel)) continue;
      const auto run = [&call = op, bytes] {
        call();
        return bytes;
      };
      VN_TRY(hold(
          {kernel, fmt::format("{} x {}", kPromptTokens, cols), "GB/s", "copy loop", [&] { x = start; }, run, copy}));
    }
    return {};
  }

  // Work per nanosecond of one call.
  double rate_of(const std::function<double()>& call) {
    const Stopwatch watch;
    const double work = call();
    last_seconds_ = watch.seconds();
    return work / last_seconds_ / 1e9;
  }

  const KernelSpeedOptions& options_;
  std::string best_;
  std::vector<KernelSpeed> results_;
  double last_seconds_ = 0;
};

}  // namespace

Json to_json(const KernelSpeed& r) {
  return {{"kernel", r.kernel}, {"shape", r.shape},           {"isa", r.isa},      {"unit", r.unit}, {"rate", r.rate},
          {"limit", r.limit},   {"limit_rate", r.limit_rate}, {"share", r.share()}};
}

Result<std::vector<KernelSpeed>> measure_kernels(const KernelSpeedOptions& options) { return Bench(options).run(); }

}  // namespace vernier
