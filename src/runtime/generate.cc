#include "runtime/generate.h"

#include <algorithm>

#include "base/fail.h"
#include "base/interrupt.h"
#include "base/memory.h"

namespace vernier {
namespace {

constexpr std::int64_t kPrefillTokens = 512;  // forwarded at once: bounds activations whatever the prompt

// Feeds `ids` at positions start .. of slot 0; the hidden state of the last one.
Result<Buffer> feed(Forward& model, KvCache& cache, std::span<const TokenId> ids, std::int64_t start) {
  Buffer last;
  for (std::size_t done = 0; done < ids.size();) {
    const std::size_t count = std::min<std::size_t>(ids.size() - done, kPrefillTokens);
    Batch batch = Batch::uniform(1, static_cast<std::int64_t>(count));
    batch.starts[0] = start + static_cast<std::int64_t>(done);
    batch.cache_slots = {0};
    batch.ids = ids.subspan(done, count);
    VN_ASSIGN(last, model.hidden(batch, &cache));
    done += count;
  }
  last.data.erase(last.data.begin(), last.data.end() - last.cols);
  last.rows = 1;
  return last;
}

}  // namespace

Result<std::vector<TokenId>> generate(Forward& model, const ModelGraph& graph, std::vector<TokenId> prompt,
                                      const GenerateOptions& options, const std::function<bool(TokenId)>& on_token) {
  const auto prompt_tokens = static_cast<std::int64_t>(prompt.size());
  if (prompt.empty()) {
    return with_hint(fail(ErrorCode::invalid, "the prompt has no tokens and this model starts with none"),
                     "give a prompt of at least one token");
  }
  if (graph.max_positions > 0 && prompt_tokens > graph.max_positions) {
    return with_hint(fail(ErrorCode::invalid, "the prompt has {} tokens, the model sees at most {}", prompt_tokens,
                          graph.max_positions),
                     "shorten the prompt");
  }
  std::int64_t wanted = std::max<std::int64_t>(options.max_tokens, 0);
  if (graph.max_positions > 0) wanted = std::min(wanted, graph.max_positions - prompt_tokens + 1);
  if (wanted == 0) return std::vector<TokenId>();

  // The last token drawn is never fed back.
  const std::int64_t positions = prompt_tokens + wanted - 1;
  if (const std::int64_t bytes = KvCache::bytes(graph, 1, positions); bytes > available_bytes()) {
    return with_hint(fail(ErrorCode::over_budget, "a KV cache of {} tokens takes {}, {} are free", positions,
                          format_bytes(bytes), format_bytes(available_bytes())),
                     "generate fewer tokens");
  }
  KvCache cache(graph, 1, positions);
  std::vector<TokenId> drawn;
  std::span<const TokenId> next = prompt;
  std::int64_t fed = 0;
  for (;;) {
    VN_TRY(check_interrupt());
    VN_ASSIGN(const Buffer hidden, feed(model, cache, next, fed));
    fed += static_cast<std::int64_t>(next.size());
    VN_ASSIGN(const Buffer logits, model.logits(hidden));
    const TokenId token = sample(logits.data, options.sampler, drawn.size());
    if (std::find(options.stop.begin(), options.stop.end(), token) != options.stop.end()) break;
    drawn.push_back(token);
    if (on_token && !on_token(token)) break;
    if (static_cast<std::int64_t>(drawn.size()) == wanted) break;
    next = std::span<const TokenId>(drawn).last(1);
  }
  return drawn;
}

}  // namespace vernier
