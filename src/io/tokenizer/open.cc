// Which tokenizer a Hugging Face folder has, and which of its tokens begin and end a text.
#include <algorithm>

#include "base/fail.h"
#include "base/json.h"
#include "io/files.h"
#include "io/gguf/checkpoint.h"
#include "io/tokenizer/gguf_tokenizer.h"
#include "io/tokenizer/hf_tokenizer.h"
#include "io/tokenizer/sentencepiece.h"
#include "vernier/tokenizer.h"

namespace vernier {
namespace {

constexpr std::int64_t max_file_bytes = 256 << 20;

// The object in a JSON file; empty where there is no such file.
Result<Json> read_optional(const std::string& path) {
  if (!file_exists(path)) return Json::object();
  VN_ASSIGN(const std::string text, read_text_file(path, max_file_bytes));
  VN_ASSIGN(Json json, parse_json(text, path));
  if (!json.is_object()) return fail(ErrorCode::invalid, "{}: expected an object, found {}", path, json.type_name());
  return json;
}

const Json* find(const Json& object, const std::string& key) {
  const auto it = object.find(key);
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

// A token of tokenizer_config.json: "text", or {"content": "text", ...}.
std::optional<TokenId> named_token(const Tokenizer& tokenizer, const Json& config, const std::string& key) {
  const Json* token = find(config, key);
  if (token && token->is_object()) token = find(*token, "content");
  if (!token || !token->is_string()) return std::nullopt;
  return tokenizer.id_of(token->get_ref<const std::string&>());
}

// One id or a list of ids; those outside the vocabulary are passed over.
std::vector<TokenId> token_ids(const Tokenizer& tokenizer, const Json& config, const std::string& key) {
  std::vector<TokenId> ids;
  const Json* value = find(config, key);
  if (!value) return ids;
  const auto add = [&](const Json& id) {
    if (!id.is_number_integer()) return;
    const auto wide = id.get<std::int64_t>();
    if (wide >= 0 && wide < tokenizer.vocab_size()) ids.push_back(static_cast<TokenId>(wide));
  };
  if (value->is_array()) {
    for (const Json& id : *value) add(id);
  } else {
    add(*value);
  }
  return ids;
}

// On entry bos, eos and add_bos are what the vocabulary file says.
void apply_config(Tokenizer& tokenizer, const Json& tokenizer_config, const std::vector<Json>& model_configs) {
  const auto vocabulary_bos = tokenizer.bos;
  std::vector<TokenId> eos;
  const auto add_eos = [&](TokenId id) {
    if (std::find(eos.begin(), eos.end(), id) == eos.end()) eos.push_back(id);
  };
  auto bos = named_token(tokenizer, tokenizer_config, "bos_token");
  if (const auto id = named_token(tokenizer, tokenizer_config, "eos_token")) add_eos(*id);
  for (const Json& config : model_configs) {
    for (const TokenId id : token_ids(tokenizer, config, "eos_token_id")) add_eos(id);
    const auto ids = token_ids(tokenizer, config, "bos_token_id");
    if (!bos && !ids.empty()) bos = ids.front();
  }
  if (bos) tokenizer.bos = bos;
  if (!eos.empty()) tokenizer.eos = eos;

  const Json* add_bos = find(tokenizer_config, "add_bos_token");
  if (add_bos && add_bos->is_boolean()) {
    tokenizer.add_bos = add_bos->get<bool>();
  } else {
    tokenizer.add_bos = tokenizer.add_bos && tokenizer.bos == vocabulary_bos;
  }
  tokenizer.add_bos = tokenizer.add_bos && tokenizer.bos.has_value();
}

Result<std::unique_ptr<Tokenizer>> open_vocabulary(const std::string& folder, const Json& tokenizer_config) {
  if (const std::string path = folder + "/tokenizer.json"; file_exists(path)) {
    VN_ASSIGN(const std::string text, read_text_file(path, max_file_bytes));
    return parse_tokenizer_json(text, path);
  }
  if (const std::string path = folder + "/tokenizer.model"; file_exists(path)) {
    VN_ASSIGN(const std::string model, read_text_file(path, max_file_bytes));
    const Json* legacy = find(tokenizer_config, "legacy");
    return parse_sentencepiece(model, path, !legacy || *legacy != false);
  }
  return with_hint(fail(ErrorCode::not_found, "{}: no tokenizer.json and no tokenizer.model", folder),
                   "copy the tokenizer files of the checkpoint into the folder");
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> open_tokenizer(const std::string& folder) {
  if (is_gguf_path(folder)) return open_gguf_tokenizer(folder);
  VN_ASSIGN(const Json tokenizer_config, read_optional(folder + "/tokenizer_config.json"));
  VN_ASSIGN(const Json generation_config, read_optional(folder + "/generation_config.json"));
  VN_ASSIGN(const Json config, read_optional(folder + "/config.json"));
  VN_ASSIGN(auto tokenizer, open_vocabulary(folder, tokenizer_config));
  apply_config(*tokenizer, tokenizer_config, {generation_config, config});
  return tokenizer;
}

}  // namespace vernier
