#include "eval/speed.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "base/cpu.h"
#include "base/fail.h"
#include "base/interrupt.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/stopwatch.h"
#include "base/threads.h"
#include "kernels/measure.h"
#include "runtime/generate.h"

namespace vernier {
namespace {

constexpr std::int64_t chunk_tokens = 256;  // of a prompt in one step, as the engine cuts it
constexpr std::uint64_t token_seed = 1;
constexpr std::int64_t read_loop_bytes = std::int64_t{768} << 20;  // beyond any last-level cache

Rate rate_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const double median = (values[values.size() / 2] + values[(values.size() - 1) / 2]) / 2;
  return {median, (values.back() - values.front()) / median};
}

// A model with its cache, and the loops that are timed.
class Timed {
 public:
  Timed(const ModelSource& source, const SpeedOptions& options)
      : source_(source),
        options_(options),
        filled_(options.depth > 0 ? options.depth : options.prompt),
        cache_(source.graph(), options.batch, std::max(options.prompt, filled_ + options.generate), options.kv),
        random_(token_seed) {}

  Status open() {
    VN_ASSIGN(forward_, Forward::open(source_, false, options_.executor));
    return {};
  }

  // Tokens [0, count) of a slot, a chunk at a time, and the logits after the last.
  Status prompt(int slot, std::int64_t count) {
    cache_.reset(slot);
    VN_TRY(cache_.reserve(slot, count));
    Buffer last;
    for (std::int64_t start = 0; start < count; start += chunk_tokens) {
      VN_TRY(check_interrupt());
      const std::vector<TokenId> ids = tokens(std::min(chunk_tokens, count - start));
      const Batch batch{{static_cast<std::int64_t>(ids.size())}, {start}, {slot}, ids};
      VN_ASSIGN(last, forward_->hidden(batch, &cache_));
    }
    Buffer row(1, last.cols);
    std::copy_n(last.data.end() - last.cols, last.cols, row.data.begin());
    VN_TRY(forward_->logits(row));
    return {};
  }

  Status fill() {
    for (int slot = 0; slot < options_.batch; ++slot) VN_TRY(prompt(slot, filled_));
    return {};
  }

  // Every sequence one token further, `steps` times, on top of the filled part.
  Status decode(std::int64_t steps) {
    for (int slot = 0; slot < options_.batch; ++slot) VN_TRY(cache_.reserve(slot, filled_ + steps));
    Batch batch;
    batch.lengths.assign(options_.batch, 1);
    batch.cache_slots.resize(options_.batch);
    std::iota(batch.cache_slots.begin(), batch.cache_slots.end(), 0);
    for (std::int64_t step = 0; step < steps; ++step) {
      VN_TRY(check_interrupt());
      const std::vector<TokenId> ids = tokens(options_.batch);
      batch.ids = ids;
      batch.starts.assign(options_.batch, filled_ + step);
      VN_ASSIGN(const Buffer hidden, forward_->hidden(batch, &cache_));
      VN_TRY(forward_->logits(hidden));
    }
    return {};
  }

  std::int64_t filled() const { return filled_; }

 private:
  std::vector<TokenId> tokens(std::int64_t count) {
    std::vector<TokenId> ids(count);
    for (TokenId& id : ids) id = static_cast<TokenId>(random_.below(drawn_++, source_.graph().vocab));
    return ids;
  }

  const ModelSource& source_;
  const SpeedOptions& options_;
  std::int64_t filled_;
  KvCache cache_;
  Random random_;
  std::uint64_t drawn_ = 0;
  std::unique_ptr<Forward> forward_;
};

struct Work {
  std::map<std::pair<std::int64_t, std::int64_t>, std::int64_t> shapes;  // rows, cols of the blocks' linears -> count
  double block_weights = 0, head_weights = 0;
  std::int64_t bytes = 0;
};

Result<Work> work_of(const ModelSource& source) {
  Work work;
  const ModelGraph& model = source.graph();
  const auto graphs = model.graphs();
  for (const Graph* graph : graphs) {
    if (graph == graphs.front()) continue;
    for (const Op& op : graph->ops) {
      if (op.kind != OpKind::linear) continue;
      VN_ASSIGN(const auto matrix, source.matrix(graph->tensors[op.weight].name));
      work.bytes += matrix->stored_bytes();
      const double weights = static_cast<double>(matrix->rows()) * static_cast<double>(matrix->cols());
      if (graph == graphs.back()) {
        work.head_weights += weights;
      } else {
        work.block_weights += weights;
        ++work.shapes[{matrix->rows(), matrix->cols()}];
      }
    }
  }
  return work;
}

// Seconds that the linears of all blocks take for `tokens` rows, each given its input.
Result<double> gemm_seconds(const ModelSource& source, const SpeedOptions& options, const std::vector<float>& inputs) {
  const auto executor = make_core_executor(options.executor);
  const Batch batch = Batch::uniform(1, options.prompt);
  double seconds = 0;
  for (const Graph& block : source.graph().blocks) {
    VN_ASSIGN(const WeightTable weights, load_weights(source, block));
    for (const Op& op : block.ops) {
      if (op.kind != OpKind::linear) continue;
      ValueTable values(block);
      Buffer x(options.prompt, block.values[op.inputs[0]].width);
      std::copy_n(inputs.begin(), x.data.size(), x.data.begin());
      values.set(op.inputs[0], std::move(x));
      const Stopwatch watch;
      VN_TRY(executor->evaluate(block, weights, batch, values, {&op.output, 1}));
      seconds += watch.seconds();
    }
  }
  return seconds;
}

// Random inputs for the widest of the linears.
std::vector<float> linear_inputs(const ModelGraph& model, std::int64_t tokens) {
  std::int64_t width = 0;
  for (const Graph& block : model.blocks) {
    for (const Op& op : block.ops)
      if (op.kind == OpKind::linear) width = std::max(width, block.values[op.inputs[0]].width);
  }
  std::vector<float> values(width * tokens);
  const Random random(token_seed);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = random.normal(i);
  return values;
}

double int8_gops(const Work& work, std::int64_t tokens) {
  double operations = 0, seconds = 0;
  for (const auto& [shape, count] : work.shapes) {
    const double rate = kernels::measure_int8_ops_per_s(tokens, shape.first, shape.second, thread_count());
    if (rate == 0) return 0;
    const double of_shape = 2.0 * static_cast<double>(shape.first * shape.second * tokens * count);
    operations += of_shape;
    seconds += of_shape / rate;
  }
  return seconds > 0 ? operations / seconds / 1e9 : 0;
}

}  // namespace

double median(std::vector<double> values) { return rate_of(std::move(values)).median; }

Json to_json(const SpeedResult& r) {
  return {{"isa", r.isa},
          {"prefill_tokens_per_s", r.prefill_tokens_per_s.median},
          {"prefill_spread", r.prefill_tokens_per_s.spread},
          {"decode_tokens_per_s", r.decode_tokens_per_s.median},
          {"decode_spread", r.decode_tokens_per_s.spread},
          {"machine_read_gb_per_s", r.machine_read_gb_per_s},
          {"decode_read_gb_per_s", r.decode_read_gb_per_s},
          {"int8_gemm_gops", r.int8_gemm_gops},
          {"prefill_gops", r.prefill_gops},
          {"prefill_gemm_gops", r.prefill_gemm_gops},
          {"weight_bytes", r.weight_bytes},
          {"kv_bytes_per_token", r.kv_bytes_per_token},
          {"peak_resident_bytes", r.peak_resident_bytes}};
}

Result<SpeedResult> measure_speed(const ModelSource& source, const SpeedOptions& options) {
  if (options.prompt < 1 || options.generate < 1 || options.batch < 1 || options.repetitions < 1)
    return fail(ErrorCode::invalid, "a prompt of {}, {} tokens, {} sequences, {} repetitions: each must be at least 1",
                options.prompt, options.generate, options.batch, options.repetitions);
  VN_ASSIGN(const Work work, work_of(source));
  Timed timed(source, options);
  VN_TRY(timed.open());
  SpeedResult result;
  result.isa = name(best_isa());
  result.weight_bytes = work.bytes;
  result.kv_bytes_per_token = KvCache::bytes_per_token(source.graph(), options.kv);

  VN_TRY(timed.fill());  // faults the mapped weights in
  VN_TRY(timed.decode(options.generate));
  result.peak_resident_bytes = peak_resident_bytes();

  // What is measured and its limit take turns: on a machine shared with others, only neighbours in time compare.
  const std::vector<float> inputs = linear_inputs(source.graph(), options.prompt);
  const auto tokens = static_cast<double>(options.prompt);
  const double block_gop = 2 * work.block_weights * tokens / 1e9, head_gop = 2 * work.head_weights / 1e9;
  std::vector<double> prefill, gemm, int8, decode, read;
  for (int i = 0; i < options.repetitions; ++i) {
    const Stopwatch watch;
    VN_TRY(timed.prompt(0, options.prompt));
    prefill.push_back(tokens / watch.seconds());
    int8.push_back(int8_gops(work, options.prompt));
    VN_ASSIGN(const double gemm_s, gemm_seconds(source, options, inputs));
    gemm.push_back(block_gop / gemm_s);
  }
  VN_TRY(timed.fill());
  const std::vector<std::byte> memory(read_loop_bytes, std::byte{1});
  for (int i = 0; i < options.repetitions; ++i) {
    const Stopwatch reading;
    kernels::read_bytes(memory);
    read.push_back(static_cast<double>(read_loop_bytes) / reading.seconds() / 1e9);
    const Stopwatch watch;
    VN_TRY(timed.decode(options.generate));
    decode.push_back(static_cast<double>(options.generate * options.batch) / watch.seconds());
  }
  result.prefill_tokens_per_s = rate_of(std::move(prefill));
  result.decode_tokens_per_s = rate_of(std::move(decode));
  result.prefill_gops = (block_gop + head_gop) * result.prefill_tokens_per_s.median / tokens;
  result.prefill_gemm_gops = median(std::move(gemm));
  result.int8_gemm_gops = median(std::move(int8));
  result.machine_read_gb_per_s = median(std::move(read));
  result.decode_read_gb_per_s =
      static_cast<double>(work.bytes) * result.decode_tokens_per_s.median / options.batch / 1e9;
  return result;
}

}  // namespace vernier
