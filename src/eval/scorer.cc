#include "eval/scorer.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/fail.h"
#include "base/threads.h"

namespace vernier {

std::int64_t logits_tile_rows(std::int64_t vocab) {
  constexpr std::int64_t most = 1024;
  return std::clamp<std::int64_t>(logits_tile_bytes / (vocab * static_cast<std::int64_t>(sizeof(float))), 1, most);
}

double log_normalizer(std::span<const float> logits) {
  const double top = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - top);
  return top + std::log(sum);
}

namespace {

Result<Buffer> tile_logits(const ScoredModel& model, std::span<const ScoredRow> rows, std::int64_t vocab) {
  Buffer picked(static_cast<std::int64_t>(rows.size()), model.hidden->cols);
  for (std::int64_t i = 0; i < picked.rows; ++i) {
    const float* from = model.hidden->matrix().row(rows[i].row);
    std::copy_n(from, picked.cols, picked.matrix().row(i));
  }
  VN_ASSIGN(Buffer logits, model.forward->logits(picked));
  if (logits.rows != picked.rows || logits.cols != vocab)
    return fail(ErrorCode::mismatch, "logits are [{}, {}], wanted [{}, {}]", logits.rows, logits.cols, picked.rows,
                vocab);
  return logits;
}

}  // namespace

Status score_rows(const ScoredModel& model, const ScoredModel& reference, std::span<const ScoredRow> rows,
                  std::int64_t vocab, const std::function<void(std::span<const ScoredToken>)>& sink) {
  const auto step = static_cast<std::size_t>(logits_tile_rows(vocab));
  for (std::size_t first = 0; first < rows.size(); first += step) {
    const auto part = rows.subspan(first, std::min(step, rows.size() - first));
    VN_ASSIGN(const Buffer logits, tile_logits(model, part, vocab));
    Buffer reference_logits;
    if (reference.forward) {
      VN_ASSIGN(reference_logits, tile_logits(reference, part, vocab));
    }
    std::vector<ScoredToken> tile(part.size());
    parallel_for(static_cast<std::int64_t>(part.size()), [&](std::int64_t i) {
      ScoredToken& token = tile[i];
      token.target = part[i].target;
      token.logits = {logits.matrix().row(i), static_cast<std::size_t>(vocab)};
      token.log_normalizer = log_normalizer(token.logits);
      if (!reference.forward) return;
      token.reference_logits = {reference_logits.matrix().row(i), static_cast<std::size_t>(vocab)};
      token.reference_log_normalizer = log_normalizer(token.reference_logits);
    });
    for (std::size_t i = 0; i < tile.size(); ++i) {
      if (!std::isfinite(tile[i].log_normalizer) || !std::isfinite(tile[i].reference_log_normalizer))
        return fail(ErrorCode::failed, "the {} gives logits that are not finite (row {})",
                    std::isfinite(tile[i].log_normalizer) ? "reference" : "model", part[i].row);
    }
    sink(tile);
  }
  return {};
}

}  // namespace vernier
