#include "cli/text_session.h"

#include <chrono>
#include <cstdio>

#include "base/interrupt.h"
#include "base/memory.h"
#include "containers/container.h"

namespace vernier {
namespace {

double seconds_since(std::chrono::steady_clock::time_point begun) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
}

}  // namespace

double Continuation::tokens_per_s() const {
  const auto count = static_cast<double>(completion.tokens.size());
  return count > 1 && seconds > first_token_s ? (count - 1) / (seconds - first_token_s) : 0;
}

Json Continuation::json() const {
  Json json;
  json["text"] = completion.text;
  json["ids"] = completion.tokens;
  json["finish"] = name(completion.finish);
  json["prompt_tokens"] = prompt_tokens;
  json["tokens"] = completion.tokens.size();
  json["first_token_s"] = first_token_s;
  json["seconds"] = seconds;
  json["tokens_per_s"] = tokens_per_s();
  return json;
}

Result<std::unique_ptr<TextSession>> TextSession::open(const std::string& model, const TextOptions& options) {
  keep_freed_memory();
  std::unique_ptr<TextSession> session(new TextSession(options));
  VN_ASSIGN(session->source_, open_model(model));
  VN_ASSIGN(session->tokenizer_, open_tokenizer(model));
  VN_ASSIGN(session->forward_, Forward::open(*session->source_, false, {.int8_inputs = !options.float_inputs}));
  return session;
}

Result<std::vector<TokenId>> TextSession::encode(const std::string& text) const {
  std::vector<TokenId> ids = tokenizer_->encode(text, true);
  const auto& bos = tokenizer_->bos;
  const bool led = !ids.empty() && ids.front() == bos;
  if (bos && !led && (tokenizer_->add_bos || ids.empty())) ids.insert(ids.begin(), *bos);
  if (ids.empty())
    return Error{ErrorCode::invalid, "the prompt is empty and the model has no BOS token", "give -p TEXT"};
  return ids;
}

Status TextSession::set_context(std::int64_t context) {
  engine_.reset();
  VN_ASSIGN(engine_, Engine::open(*forward_, {.kv = options_.kv.value_or(kv_type_for(*source_)), .context = context}));
  return {};
}

Result<Continuation> TextSession::continue_text(const std::vector<TokenId>& prompt) {
  const auto begun = std::chrono::steady_clock::now();
  Continuation result;
  result.prompt_tokens = static_cast<std::int64_t>(prompt.size());
  Request request;
  request.prompt = prompt;
  request.sampler = options_.sampler;
  request.max_tokens = options_.max_tokens;
  if (!options_.ignore_eos) request.stop = tokenizer_->eos;
  request.stop_strings = options_.stop_strings;
  request.tokenizer = tokenizer_.get();
  request.on_token = [&](TokenId) {
    if (result.first_token_s == 0) result.first_token_s = seconds_since(begun);
    return true;
  };
  request.on_text = [&](std::string_view text) {
    if (!options_.show) return;
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
  };
  VN_ASSIGN(const Engine::Id id, engine_->submit(std::move(request)));
  while (!engine_->idle()) {
    VN_TRY(engine_->step());
    if (interrupted()) engine_->cancel(id);
  }
  result.completion = *engine_->take(id);
  result.seconds = seconds_since(begun);
  return result;
}

}  // namespace vernier
