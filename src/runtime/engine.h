// Several sequences through one model: prompts in chunks, the running ones' next tokens together in every step
// (continuous batching). Not thread-safe: one caller submits, steps and takes results. Callbacks must not call the
// engine.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "runtime/forward.h"
#include "runtime/sample.h"
#include "runtime/text_stream.h"

namespace vernier {

struct EngineOptions {
  KvType kv = KvType::f16;
  int sequences = 1;                  // that run at once; further ones wait
  std::int64_t context = 0;           // positions of a sequence, prompt included; 0: all that the model has
  std::int64_t prefill_tokens = 256;  // most prompt tokens of a step, over all sequences
  std::int64_t pool_tokens = 0;       // positions of all sequences together; 0: `context` for each
};

// One text to continue.
struct Request {
  std::vector<TokenId> prompt;  // BOS already in it where the model wants one
  SamplerOptions sampler;
  std::int64_t max_tokens = 128;
  std::vector<TokenId> stop;                      // tokens that end the text; not part of it
  std::vector<std::string> stop_strings;          // as stop, wherever they appear; needs `tokenizer`
  const Tokenizer* tokenizer = nullptr;           // null: no text is made, only tokens
  std::function<bool(TokenId)> on_token;          // every token as it is drawn; false cancels
  std::function<void(std::string_view)> on_text;  // text as it becomes final
};

enum class Finish {
  stop,       // a stop token or stop string
  length,     // max_tokens
  context,    // no position is left
  cancelled,  // by on_token or cancel()
};
std::string_view name(Finish finish);

struct Completion {
  std::vector<TokenId> tokens;  // a stop string's included, a stop token not
  std::string text;             // without the stop string
  Finish finish = Finish::length;
};

class Engine {
 public:
  // Errors: options out of range, a context beyond the model's positions, a KV cache that does not fit into memory.
  static Result<std::unique_ptr<Engine>> open(Forward& model, const EngineOptions& options);
  ~Engine();

  // Queues a text. Errors: an empty prompt, one longer than the context or than the pool, ids outside of the
  // vocabulary, sampler options out of range, stop strings that are empty or come without a tokenizer.
  using Id = std::int64_t;
  Result<Id> submit(Request request);
  void cancel(Id id);  // finishes it as cancelled; nothing for an id that has finished

  // Runs one batch: up to prefill_tokens of prompts in order of submission, and one token of each sequence beyond its
  // prompt. A sequence is admitted when the pool can hold it up to its last token, so none is ever evicted.
  // After an error the engine must not be stepped again.
  Status step();
  bool idle() const { return waiting_.empty() && running_.empty(); }
  std::optional<Completion> take(Id id);  // what a finished sequence came to, once

  std::int64_t context() const { return cache_.capacity(); }
  std::int64_t kv_bytes() const { return cache_.bytes(); }
  const KvCache& cache() const { return cache_; }

 private:
  struct Sequence;
  using SequencePtr = std::unique_ptr<Sequence>;

  Engine(Forward& model, const EngineOptions& options, std::int64_t context);
  Status check(const Request& request) const;
  std::int64_t pages_needed(const Request& request) const;
  void admit();
  void accept(Sequence& sequence, TokenId token);
  void release_finished();

  Forward& model_;
  const std::int64_t prefill_tokens_;
  KvCache cache_;
  std::vector<int> free_slots_;
  std::int64_t free_pages_;  // not promised to a running sequence
  std::deque<SequencePtr> waiting_;
  std::vector<SequencePtr> running_;  // in order of submission
  std::map<Id, Completion> finished_;
  Id next_id_ = 0;
};

}  // namespace vernier
