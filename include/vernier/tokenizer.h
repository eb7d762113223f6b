// Text to token ids and back.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "vernier/status.h"

namespace vernier {

using TokenId = std::int32_t;

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  virtual std::int64_t vocab_size() const = 0;
  // Ids of `text` alone: no BOS or EOS is added. With parse_special, the text of special tokens ("<|eot_id|>", "</s>")
  // becomes their id; without, it is ordinary text. Invalid UTF-8 is replaced, never fatal.
  virtual std::vector<TokenId> encode(std::string_view text, bool parse_special = false) const = 0;
  // Text of `ids`; special tokens are left out unless asked for. Incomplete UTF-8 becomes U+FFFD.
  virtual std::string decode(const std::vector<TokenId>& ids, bool with_special = false) const = 0;
  virtual std::string piece(TokenId id) const = 0;  // as in the vocabulary file, for tables
  virtual std::optional<TokenId> id_of(std::string_view piece) const = 0;
  virtual bool is_special(TokenId id) const = 0;

  // From tokenizer_config.json, generation_config.json, config.json and the vocabulary, in that order.
  std::optional<TokenId> bos;
  std::vector<TokenId> eos;
  bool add_bos = false;  // whether this model's sequences start with BOS
};

// The tokenizer of a Hugging Face folder: tokenizer.json when present, else tokenizer.model; or of a GGUF file.
Result<std::unique_ptr<Tokenizer>> open_tokenizer(const std::string& folder);

// Decodes a stream of tokens into text as it becomes complete: a multi-byte character split over tokens is held back.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}
  std::string push(TokenId id);  // the text that became final
  std::string finish();          // what was held back

 private:
  const Tokenizer& tokenizer_;
  std::vector<TokenId> ids_;
  std::size_t emitted_ = 0;
};

// One turn of a conversation, as in chat JSONL.
struct ChatMessage {
  std::string role;  // "system", "user", "assistant", "tool"
  std::string content;
};

// The chat template of a Hugging Face folder (tokenizer_config.json "chat_template", or chat_template.jinja) or of a
// GGUF file. The subset of Jinja that the templates of Llama 2, Llama 3, Mistral and Qwen use; anything beyond is an
// error that names the construct and its line.
class ChatTemplate {
 public:
  static Result<ChatTemplate> open(const std::string& folder);
  static Result<ChatTemplate> parse(std::string_view source, std::string_view where);
  ~ChatTemplate();
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;

  // bos_token, eos_token and other string variables the template may read.
  void set(std::string name, std::string value);
  Result<std::string> render(const std::vector<ChatMessage>& messages, bool add_generation_prompt) const;

 private:
  struct State;
  explicit ChatTemplate(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace vernier
