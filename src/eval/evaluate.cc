#include "eval/evaluate.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <numeric>

#include "base/fail.h"
#include "base/interrupt.h"
#include "base/memory.h"
#include "base/progress.h"
#include "eval/chunks.h"
#include "eval/metric.h"
#include "eval/protocol.h"
#include "eval/scorer.h"

namespace vernier {
namespace {

Status check_inputs(const ModelSource& model, const ModelSource* reference, const std::vector<TokenId>& ids,
                    std::int64_t ctx) {
  const ModelGraph& graph = model.graph();
  if (reference && reference->graph().vocab != graph.vocab) {
    return fail(ErrorCode::mismatch, "{} has a vocabulary of {}, the reference {} one of {}", model.path(), graph.vocab,
                reference->path(), reference->graph().vocab);
  }
  for (const ModelSource* source : {&model, reference}) {
    if (!source || source->graph().max_positions == 0 || ctx <= source->graph().max_positions) continue;
    return with_hint(fail(ErrorCode::invalid, "a context of {} tokens exceeds the {} positions of {}", ctx,
                          source->graph().max_positions, source->path()),
                     "give a smaller --ctx");
  }
  const auto largest = std::max_element(ids.begin(), ids.end());
  if (largest != ids.end() && *largest >= graph.vocab) {
    return fail(ErrorCode::mismatch, "the tokenizer gives id {}, the vocabulary of {} has {} entries", *largest,
                model.path(), graph.vocab);
  }
  return {};
}

// Positions [first_target, length) of every piece; the hidden state one earlier predicts them.
std::vector<ScoredRow> scored_rows(std::span<const TokenId> ids, const Pieces& pieces) {
  std::vector<ScoredRow> rows;
  const auto count = static_cast<std::int64_t>(ids.size());
  for (std::int64_t piece = 0; piece < count; piece += pieces.length) {
    for (std::int64_t t = pieces.first_target; t < pieces.length; ++t) rows.push_back({piece + t - 1, ids[piece + t]});
  }
  return rows;
}

constexpr std::int64_t kCacheBytes = 128 << 20;  // enough sequences at once for large products

// The KV cache of EvalOptions::kv, and how many pieces it holds.
struct EvalCache {
  std::int64_t pieces = 0, bytes = 0;
  std::unique_ptr<KvCache> cache;
};
EvalCache make_cache(const ModelGraph& graph, kernels::KvType type, const Pieces& pieces) {
  const std::int64_t piece_bytes = KvCache::bytes(graph, 1, pieces.length, type);
  EvalCache made;
  made.pieces = std::clamp<std::int64_t>(kCacheBytes / piece_bytes, 1, std::max<std::int64_t>(pieces.count(), 1));
  made.bytes = made.pieces * piece_bytes;
  made.cache = std::make_unique<KvCache>(graph, static_cast<int>(made.pieces), pieces.length, type);
  return made;
}

}  // namespace

Json to_json(const EvalResult& result) {
  Json json = result.figures;
  json["tokens"] = result.tokens;
  json["seconds"] = result.seconds;
  json["peak_resident_bytes"] = result.peak_resident_bytes;
  return json;
}

Result<EvalResult> evaluate(const ModelSource& model, const ModelSource* reference, const Tokenizer& tokenizer,
                            const std::string& text, const EvalOptions& options) {
  const auto begun = std::chrono::steady_clock::now();
  std::vector<TokenId> ids = tokenizer.encode(text);
  if (options.max_tokens > 0 && options.max_tokens < static_cast<std::int64_t>(ids.size()))
    ids.resize(options.max_tokens);
  VN_TRY(check_inputs(model, reference, ids, options.ctx));
  VN_ASSIGN(const Pieces pieces, cut_pieces(std::move(ids), tokenizer, options.protocol, options.ctx));

  std::vector<const ModelSource*> models{&model};
  if (reference) models.push_back(reference);
  EvalCache cache;
  if (options.kv) cache = make_cache(model.graph(), *options.kv, pieces);
  const std::int64_t budget =
      options.memory_bytes > 0 ? std::max<std::int64_t>(options.memory_bytes - cache.bytes, 1) : 0;
  VN_ASSIGN(Chunking chunking, plan_chunks(models, pieces.length, budget));
  if (cache.cache) chunking.rows = std::min(chunking.rows, cache.pieces * pieces.length);
  VN_ASSIGN(const auto forward, Forward::open(model, chunking.stream, options.executor));
  std::unique_ptr<Forward> reference_forward;
  if (reference) {
    VN_ASSIGN(reference_forward, Forward::open(*reference, chunking.stream));
  }

  std::vector<std::unique_ptr<Metric>> running;
  for (const MetricDescriptor* metric : metrics()) {
    if (reference || !metric->needs_reference) running.push_back(metric->make());
  }
  const auto sink = [&](std::span<const ScoredToken> tile) {
    for (const auto& metric : running) metric->add(tile);
  };

  const std::span<const TokenId> all(pieces.ids);
  Progress progress("evaluating", static_cast<double>(all.size()));
  for (std::size_t first = 0; first < all.size(); first += chunking.rows) {
    VN_TRY(check_interrupt());
    const auto chunk = all.subspan(first, std::min<std::size_t>(chunking.rows, all.size() - first));
    Batch batch = Batch::uniform(static_cast<std::int64_t>(chunk.size()) / pieces.length, pieces.length);
    batch.ids = chunk;
    Buffer reference_hidden;
    if (reference) {
      VN_ASSIGN(reference_hidden, reference_forward->hidden(batch));
    }
    if (cache.cache) {
      batch.cache_slots.resize(batch.lengths.size());
      std::iota(batch.cache_slots.begin(), batch.cache_slots.end(), 0);
    }
    VN_ASSIGN(const Buffer hidden, forward->hidden(batch, cache.cache.get()));
    const std::vector<ScoredRow> rows = scored_rows(chunk, pieces);
    VN_TRY(score_rows({forward.get(), &hidden}, {reference_forward.get(), &reference_hidden}, rows, model.graph().vocab,
                      sink));
    progress.advance(static_cast<double>(chunk.size()));
  }

  EvalResult result;
  result.tokens = pieces.scored();
  for (const auto& metric : running) metric->write(result.figures);
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
  result.peak_resident_bytes = peak_resident_bytes();
  return result;
}

}  // namespace vernier
