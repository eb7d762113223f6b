#include "io/tokenizer/gguf_companions.h"

#include "base/fail.h"
#include "base/json.h"
#include "io/tokenizer/gguf_tokenizer.h"
#include "tensor/mapped_file.h"

namespace vernier {
namespace {

Result<Json> tokenizer_config(const GgufReader& metadata, const Tokenizer& tokenizer, bool sentencepiece) {
  Json config = Json::object();
  config["add_bos_token"] = tokenizer.add_bos;
  VN_ASSIGN(const bool add_eos, metadata.flag("tokenizer.ggml.add_eos_token", false));
  config["add_eos_token"] = add_eos;
  if (tokenizer.bos) config["bos_token"] = tokenizer.piece(*tokenizer.bos);
  if (!tokenizer.eos.empty()) config["eos_token"] = tokenizer.piece(tokenizer.eos.front());
  for (const auto& [key, role] : {std::pair{"unknown", "unk_token"}, std::pair{"padding", "pad_token"}}) {
    VN_ASSIGN(const std::int64_t id, metadata.integer(fmt::format("tokenizer.ggml.{}_token_id", key), -1));
    if (id >= 0 && id < tokenizer.vocab_size()) config[role] = tokenizer.piece(static_cast<TokenId>(id));
  }
  config["clean_up_tokenization_spaces"] = false;
  if (sentencepiece)
    config["legacy"] = true;  // pieces begin after every special token as they do in the file's runtime
  config["tokenizer_class"] = sentencepiece ? "LlamaTokenizer" : "PreTrainedTokenizerFast";
  VN_ASSIGN(const std::string chat, metadata.text("tokenizer.chat_template", ""));
  if (!chat.empty()) config["chat_template"] = chat;
  return config;
}

}  // namespace

Result<std::vector<MadeFile>> gguf_companions(const std::string& path) {
  VN_ASSIGN(const auto file, MappedFile::open(path));
  VN_ASSIGN(const GgufHeader header, parse_gguf(file->bytes(), path));
  const GgufReader metadata(header, path);
  std::vector<MadeFile> files;
  if (!metadata.has("tokenizer.ggml.model")) return files;
  VN_ASSIGN(const auto tokenizer, parse_gguf_tokenizer(metadata));
  VN_ASSIGN(const std::string model, metadata.text("tokenizer.ggml.model"));
  const bool sentencepiece = model == "llama";
  VN_ASSIGN(std::string text, sentencepiece ? gguf_sentencepiece_model(metadata) : gguf_tokenizer_json(metadata));
  files.push_back({sentencepiece ? "tokenizer.model" : "tokenizer.json", std::move(text)});
  VN_ASSIGN(const Json config, tokenizer_config(metadata, *tokenizer, sentencepiece));
  files.push_back({"tokenizer_config.json", dump_json(config) + "\n"});
  if (tokenizer->eos.size() > 1) {
    Json generation = Json::object();
    if (tokenizer->bos) generation["bos_token_id"] = *tokenizer->bos;
    generation["eos_token_id"] = tokenizer->eos;
    files.push_back({"generation_config.json", dump_json(generation) + "\n"});
  }
  return files;
}

}  // namespace vernier
