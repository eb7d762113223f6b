#include "pipeline/calibration_self.h"

#include <algorithm>

#include "base/fail.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include "base/random.h"
#include "runtime/forward.h"
#include "runtime/sample.h"

namespace vernier {
namespace {

constexpr std::int64_t cache_bytes = 64 << 20;
constexpr std::int64_t most_slots = 32;

std::int64_t slots_for(const ModelGraph& graph, std::int64_t ctx) {
  const std::int64_t per_token = 2 * graph.layers * graph.kv_heads * graph.head_dim * std::int64_t{sizeof(float)};
  return std::clamp<std::int64_t>(cache_bytes / std::max<std::int64_t>(1, per_token * ctx), 1, most_slots);
}

std::int64_t stored_bytes(const ModelSource& source) {
  std::int64_t bytes = 0;
  for (const SourceTensor& tensor : source.tensors()) bytes += tensor.stored_bytes;
  return bytes;
}

struct Draw {
  Forward& forward;
  const Random& random;
  std::int64_t ctx;
};

// Fills samples [first, first + count) of ids, which hold their first token already.
Status draw_samples(const Draw& draw, KvCache& cache, std::int64_t first, std::int64_t count, std::vector<TokenId>& ids,
                    Progress& progress) {
  std::vector<TokenId> last(count);
  for (std::int64_t t = 1; t < draw.ctx; ++t) {
    VN_TRY(check_interrupt());
    Batch batch;
    for (std::int64_t s = 0; s < count; ++s) {
      last[s] = ids[(first + s) * draw.ctx + t - 1];
      batch.lengths.push_back(1);
      batch.starts.push_back(t - 1);
      batch.cache_slots.push_back(static_cast<int>(s));
    }
    batch.ids = last;
    VN_ASSIGN(const Buffer hidden, draw.forward.hidden(batch, &cache));
    VN_ASSIGN(const Buffer logits, draw.forward.logits(hidden));
    for (std::int64_t s = 0; s < count; ++s) {
      SamplerOptions options;
      options.temperature = 1;
      options.seed = draw.random.bits(first + s);
      const float* row = logits.matrix().row(s);
      ids[(first + s) * draw.ctx + t] = sample({row, static_cast<std::size_t>(logits.cols)}, options, t);
    }
    progress.advance(static_cast<double>(count));
  }
  return {};
}

}  // namespace

Result<std::vector<TokenId>> sample_from_model(const ModelSource& source, std::optional<TokenId> bos,
                                               const Recipe::Calibration& options, std::int64_t memory_bytes) {
  const ModelGraph& graph = source.graph();
  if (graph.max_positions > 0 && options.ctx > graph.max_positions) {
    return with_hint(fail(ErrorCode::invalid, "a context of {} tokens exceeds the {} positions of {}", options.ctx,
                          graph.max_positions, source.path()),
                     "give a smaller --ctx");
  }
  const Random random(options.seed);
  std::vector<TokenId> ids(options.samples * options.ctx);
  for (std::int64_t s = 0; s < options.samples; ++s) {
    const auto any = static_cast<TokenId>(random.below(options.samples + s, graph.vocab));
    ids[s * options.ctx] = bos.value_or(any);
  }
  const std::int64_t slots = std::min(slots_for(graph, options.ctx), options.samples);
  const bool stream = memory_bytes > 0 && stored_bytes(source) > memory_bytes / 2;
  VN_ASSIGN(const auto forward, Forward::open(source, stream));
  KvCache cache(graph, static_cast<int>(slots), options.ctx);
  Progress progress("sampling calibration text", static_cast<double>(options.samples * (options.ctx - 1)));
  for (std::int64_t first = 0; first < options.samples; first += slots) {
    const std::int64_t count = std::min(slots, options.samples - first);
    VN_TRY(draw_samples({*forward, random, options.ctx}, cache, first, count, ids, progress));
  }
  return ids;
}

}  // namespace vernier
