#include "runtime/engine.h"

#include <algorithm>
#include <utility>

#include "base/fail.h"
#include "base/memory.h"

namespace vernier {
namespace {

constexpr std::int64_t kUnstatedPositions = 4096;  // context of a model whose config states none

}  // namespace

std::string_view name(Finish finish) {
  switch (finish) {
    case Finish::stop:
      return "stop";
    case Finish::length:
      return "length";
    case Finish::context:
      return "context";
    case Finish::cancelled:
      return "cancelled";
  }
  return "unknown";
}

struct Engine::Sequence {
  Id id = 0;
  Request request;
  std::optional<TextStream> stream;
  std::vector<TokenId> tokens;  // the prompt and what was drawn
  std::int64_t fed = 0;         // tokens in the cache
  int slot = -1;
  std::int64_t pages = 0;  // promised
  std::optional<Finish> finish;
  Completion completion;

  std::int64_t unfed() const { return static_cast<std::int64_t>(tokens.size()) - fed; }
  bool decoding() const { return tokens.size() > request.prompt.size(); }

  void emit(const std::string& text) {
    if (text.empty()) return;
    completion.text += text;
    if (request.on_text) request.on_text(text);
  }
  void end(Finish reason) {
    finish = completion.finish = reason;
    if (stream) emit(stream->finish());
  }
};

Engine::Engine(Forward& model, const EngineOptions& options, std::int64_t context)
    : model_(model),
      prefill_tokens_(options.prefill_tokens),
      cache_(model.graph(), options.sequences, context, options.kv, options.pool_tokens),
      free_pages_(cache_.pages()) {
  for (int slot = options.sequences - 1; slot >= 0; --slot) free_slots_.push_back(slot);
}

Engine::~Engine() = default;

Result<std::unique_ptr<Engine>> Engine::open(Forward& model, const EngineOptions& options) {
  const ModelGraph& graph = model.graph();
  if (options.sequences < 1 || options.prefill_tokens < 1 || options.context < 0 || options.pool_tokens < 0) {
    return fail(ErrorCode::invalid,
                "an engine needs at least one sequence and one prefill token, and no negative sizes; found {} "
                "sequences, {} prefill tokens, a context of {} and a pool of {} tokens",
                options.sequences, options.prefill_tokens, options.context, options.pool_tokens);
  }
  if (graph.max_positions > 0 && options.context > graph.max_positions) {
    return with_hint(fail(ErrorCode::invalid, "a context of {} tokens exceeds the {} positions of the model",
                          options.context, graph.max_positions),
                     "give a smaller context");
  }
  const std::int64_t most = graph.max_positions > 0 ? graph.max_positions : kUnstatedPositions;
  const std::int64_t context = options.context > 0 ? options.context : most;
  const std::int64_t bytes = options.pool_tokens > 0 ? KvCache::bytes(graph, 1, options.pool_tokens, options.kv)
                                                     : KvCache::bytes(graph, options.sequences, context, options.kv);
  if (bytes > available_bytes()) {
    return with_hint(
        fail(ErrorCode::over_budget, "a KV cache of {} x {} tokens in {} takes {}, {} are free", options.sequences,
             context, name(options.kv), format_bytes(bytes), format_bytes(available_bytes())),
        "give a smaller context or a smaller type of KV cache");
  }
  return std::unique_ptr<Engine>(new Engine(model, options, context));
}

Status Engine::check(const Request& request) const {
  const auto prompt_tokens = static_cast<std::int64_t>(request.prompt.size());
  if (prompt_tokens == 0) {
    return with_hint(fail(ErrorCode::invalid, "the prompt has no tokens and this model starts with none"),
                     "give a prompt of at least one token");
  }
  if (prompt_tokens > context()) {
    return with_hint(
        fail(ErrorCode::invalid, "the prompt has {} tokens, the context holds {}", prompt_tokens, context()),
        "shorten the prompt, or give a larger context where the model has one");
  }
  if (pages_needed(request) > cache_.pages()) {
    return with_hint(fail(ErrorCode::over_budget, "{} prompt tokens and {} new ones do not fit a KV cache of {} tokens",
                          prompt_tokens, request.max_tokens, cache_.pages() * kernels::kPageTokens),
                     "generate fewer tokens, or give the KV cache more");
  }
  for (TokenId id : request.prompt) {
    if (id < 0 || id >= model_.graph().vocab) {
      return with_hint(
          fail(ErrorCode::invalid, "token id {} is outside of the vocabulary of {}", id, model_.graph().vocab),
          "check that the tokenizer belongs to this model");
    }
  }
  for (const std::string& stop : request.stop_strings) {
    if (stop.empty() || !request.tokenizer)
      return fail(ErrorCode::invalid, "a stop string must not be empty, and needs a tokenizer");
  }
  return validate(request.sampler);
}

// The last token drawn is never fed back.
std::int64_t Engine::pages_needed(const Request& request) const {
  const auto prompt_tokens = static_cast<std::int64_t>(request.prompt.size());
  const std::int64_t drawn = std::clamp<std::int64_t>(request.max_tokens - 1, 0, context() - prompt_tokens);
  return KvCache::pages_for(prompt_tokens + drawn);
}

Result<Engine::Id> Engine::submit(Request request) {
  VN_TRY(check(request));
  auto sequence = std::make_unique<Sequence>();
  sequence->id = next_id_++;
  sequence->tokens = request.prompt;
  sequence->pages = pages_needed(request);
  if (request.tokenizer) sequence->stream.emplace(*request.tokenizer, request.prompt, request.stop_strings);
  sequence->request = std::move(request);
  const Id id = sequence->id;
  if (sequence->request.max_tokens > 0)
    waiting_.push_back(std::move(sequence));
  else
    finished_.emplace(id, Completion());
  return id;
}

void Engine::cancel(Id id) {
  for (const SequencePtr& sequence : running_) {
    if (sequence->id == id) sequence->end(Finish::cancelled);
  }
  release_finished();
  const auto at = std::find_if(waiting_.begin(), waiting_.end(), [id](const auto& s) { return s->id == id; });
  if (at == waiting_.end()) return;
  waiting_.erase(at);
  finished_[id].finish = Finish::cancelled;
}

std::optional<Completion> Engine::take(Id id) {
  auto node = finished_.extract(id);
  if (node.empty()) return std::nullopt;
  return std::move(node.mapped());
}

void Engine::admit() {
  while (!waiting_.empty() && !free_slots_.empty() && waiting_.front()->pages <= free_pages_) {
    Sequence& sequence = *waiting_.front();
    sequence.slot = free_slots_.back();
    free_slots_.pop_back();
    free_pages_ -= sequence.pages;
    running_.push_back(std::move(waiting_.front()));
    waiting_.pop_front();
  }
}

void Engine::release_finished() {
  std::erase_if(running_, [this](SequencePtr& sequence) {
    if (!sequence->finish) return false;
    cache_.reset(sequence->slot);
    free_slots_.push_back(sequence->slot);
    free_pages_ += sequence->pages;
    finished_.emplace(sequence->id, std::move(sequence->completion));
    return true;
  });
}

Status Engine::step() {
  admit();
  Batch batch;
  std::vector<TokenId> ids;
  std::vector<Sequence*> drawing;         // those whose next token follows from this batch,
  std::vector<std::int64_t> drawing_row;  // and the row that predicts it
  std::int64_t prefill_left = prefill_tokens_;
  for (const SequencePtr& sequence : running_) {
    const std::int64_t count = std::min(sequence->unfed(), sequence->decoding() ? 1 : prefill_left);
    if (count == 0) continue;
    if (!sequence->decoding()) prefill_left -= count;
    batch.lengths.push_back(count);
    batch.starts.push_back(sequence->fed);
    batch.cache_slots.push_back(sequence->slot);
    const auto first = sequence->tokens.begin() + sequence->fed;
    ids.insert(ids.end(), first, first + count);
    sequence->fed += count;
    if (sequence->unfed() > 0) continue;
    drawing.push_back(sequence.get());
    drawing_row.push_back(static_cast<std::int64_t>(ids.size()) - 1);
  }
  if (ids.empty()) return {};
  batch.ids = ids;
  VN_ASSIGN(const Buffer hidden, model_.hidden(batch, &cache_));
  if (drawing.empty()) return {};

  Buffer last(static_cast<std::int64_t>(drawing.size()), hidden.cols);
  for (std::int64_t i = 0; i < last.rows; ++i)
    std::copy_n(hidden.matrix().row(drawing_row[i]), hidden.cols, last.matrix().row(i));
  VN_ASSIGN(const Buffer logits, model_.logits(last));
  for (std::int64_t i = 0; i < last.rows; ++i) {
    Sequence& sequence = *drawing[i];
    const std::uint64_t draw = sequence.completion.tokens.size();
    accept(sequence, sample({logits.matrix().row(i), static_cast<std::size_t>(logits.cols)}, sequence.request.sampler,
                            draw, sequence.tokens));
  }
  release_finished();
  return {};
}

void Engine::accept(Sequence& sequence, TokenId token) {
  const Request& request = sequence.request;
  if (std::find(request.stop.begin(), request.stop.end(), token) != request.stop.end())
    return sequence.end(Finish::stop);
  sequence.tokens.push_back(token);
  sequence.completion.tokens.push_back(token);
  if (sequence.stream) sequence.emit(sequence.stream->push(token));
  if (request.on_token && !request.on_token(token)) return sequence.end(Finish::cancelled);
  if (sequence.stream && sequence.stream->stopped()) return sequence.end(Finish::stop);
  if (static_cast<std::int64_t>(sequence.completion.tokens.size()) >= request.max_tokens)
    return sequence.end(Finish::length);
  if (sequence.fed == context()) sequence.end(Finish::context);
}

}  // namespace vernier
