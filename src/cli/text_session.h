// A model that continues texts for `vernier run`, one after another.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "arch/source.h"
#include "base/json.h"
#include "runtime/engine.h"
#include "vernier/tokenizer.h"

namespace vernier {

struct TextOptions {
  SamplerOptions sampler;
  std::optional<KvType> kv = {};  // else what the model asks for
  std::int64_t max_tokens = 128;
  std::int64_t context = 0;  // positions; 0: what the command needs
  std::vector<std::string> stop_strings;
  bool float_inputs = false;  // of packed weight-only models; else int8
  bool ignore_eos = false;
  bool show = true;  // text goes to stdout as it becomes final
};

// What one text came to, and how long it took.
struct Continuation {
  Completion completion;
  std::int64_t prompt_tokens = 0;
  double first_token_s = 0, seconds = 0;

  double tokens_per_s() const;  // after the first token
  Json json() const;            // text, ids, finish, prompt_tokens, tokens, first_token_s, seconds, tokens_per_s
};

class TextSession {
 public:
  static Result<std::unique_ptr<TextSession>> open(const std::string& model, const TextOptions& options);

  const ModelGraph& graph() const { return source_->graph(); }
  const Tokenizer& tokenizer() const { return *tokenizer_; }

  // Ids of `text`, special tokens by their text; BOS in front where the model wants it and the text lacks it.
  Result<std::vector<TokenId>> encode(const std::string& text) const;
  // Texts of up to `context` tokens from here on; the KV cache is made anew.
  Status set_context(std::int64_t context);
  // Ctrl-C ends the text early.
  Result<Continuation> continue_text(const std::vector<TokenId>& prompt);

 private:
  explicit TextSession(const TextOptions& options) : options_(options) {}

  const TextOptions options_;
  std::unique_ptr<ModelSource> source_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<Forward> forward_;
  std::unique_ptr<Engine> engine_;
};

}  // namespace vernier
