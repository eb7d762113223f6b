#include "io/tokenizer/gguf_export.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/fail.h"
#include "base/json.h"
#include "base/log.h"
#include "io/files.h"
#include "io/tokenizer/component.h"
#include "io/tokenizer/gguf_words.h"
#include "io/tokenizer/utf8.h"
#include "vernier/tokenizer.h"

namespace vernier {
namespace {

constexpr std::int64_t max_file_bytes = 256 << 20;
constexpr float padding_score = -10000;

struct Vocabulary {
  std::vector<std::string> tokens;
  std::vector<std::int32_t> types;
  std::vector<float> scores;  // SentencePiece only

  void add(std::string token, std::int32_t type, float score) {
    tokens.push_back(std::move(token));
    types.push_back(type);
    scores.push_back(score);
  }
};

Error damaged(const std::string& where) {
  return fail(ErrorCode::invalid, "{}: not a SentencePiece model: its fields do not fit together", where);
}

// Fields of a protocol buffer, one after another.
class ProtoReader {
 public:
  explicit ProtoReader(std::string_view text) : text_(text) {}

  // The next field; false at the end or where the text is damaged.
  bool next() {
    if (text_.empty()) return false;
    std::uint64_t tag = 0;
    if (!varint(tag)) return false;
    field = static_cast<int>(tag >> 3);
    switch (tag & 7) {
      case 0:
        return varint(number);
      case 1:
        return take(8);
      case 2: {
        std::uint64_t size = 0;
        return varint(size) && take(size);
      }
      case 5:
        return take(4);
      default:
        return ok = false;
    }
  }
  float real() const {
    std::uint32_t bits = 0;
    if (bytes.size() == 4) std::memcpy(&bits, bytes.data(), 4);
    return std::bit_cast<float>(bits);
  }

  bool ok = true;
  int field = 0;
  std::uint64_t number = 0;  // of a varint field
  std::string_view bytes;    // of the other fields

 private:
  bool varint(std::uint64_t& value) {
    value = 0;
    for (int shift = 0; shift < 64 && !text_.empty(); shift += 7) {
      const auto byte = static_cast<unsigned char>(text_.front());
      text_.remove_prefix(1);
      value |= std::uint64_t{byte & 0x7Fu} << shift;
      if (byte < 0x80) return true;
    }
    return ok = false;
  }
  bool take(std::uint64_t size) {
    if (size > text_.size()) return ok = false;
    bytes = text_.substr(0, size);
    text_.remove_prefix(size);
    return true;
  }

  std::string_view text_;
};

Status add_piece(std::string_view text, const std::string& where, Vocabulary& vocabulary) {
  ProtoReader piece(text);
  std::string token;
  float score = 0;
  std::int32_t type = piece_normal;
  while (piece.next()) {
    if (piece.field == 1) token = piece.bytes;
    if (piece.field == 2) score = piece.real();
    if (piece.field == 3) type = static_cast<std::int32_t>(std::min<std::uint64_t>(piece.number, 255));
  }
  if (!piece.ok || type < piece_normal || type > piece_byte) return damaged(where);
  if (type == piece_user) token = replace_all(token, metaspace, " ");
  vocabulary.add(std::move(token), type, score);
  return {};
}

Status add_sentencepiece(const std::string& path, std::int64_t rows, GgufHeaderWriter& out) {
  VN_ASSIGN(const std::string text, read_text_file(path, max_file_bytes));
  Vocabulary vocabulary;
  std::uint64_t model_type = 1;
  bool prefix = true, squeeze = true;
  ProtoReader model(text);
  while (model.next()) {
    if (model.field == 1) VN_TRY(add_piece(model.bytes, path, vocabulary));
    if (model.field == 2 || model.field == 3) {
      ProtoReader part(model.bytes);
      while (part.next()) {
        if (model.field == 2 && part.field == 3) model_type = part.number;
        if (model.field == 3 && part.field == 3) prefix = part.number != 0;
        if (model.field == 3 && part.field == 4) squeeze = part.number != 0;
      }
      if (!part.ok) return damaged(path);
    }
  }
  if (!model.ok || vocabulary.tokens.empty()) return damaged(path);
  if (model_type != 2)
    return fail(ErrorCode::unsupported, "{}: a SentencePiece model of type {}; GGUF's \"llama\" is byte-pair encoding",
                path, model_type);
  while (static_cast<std::int64_t>(vocabulary.tokens.size()) < rows)
    vocabulary.add(fmt::format("[PAD{}]", vocabulary.tokens.size()), piece_unused, padding_score);
  out.text("tokenizer.ggml.model", "llama");
  out.text("tokenizer.ggml.pre", "default");
  out.strings("tokenizer.ggml.tokens", vocabulary.tokens);
  out.f32s("tokenizer.ggml.scores", vocabulary.scores);
  out.i32s("tokenizer.ggml.token_type", vocabulary.types);
  out.flag("tokenizer.ggml.add_space_prefix", prefix);
  out.flag("tokenizer.ggml.remove_extra_whitespaces", squeeze);
  const auto unknown = std::find(vocabulary.types.begin(), vocabulary.types.end(), piece_unknown);
  if (unknown != vocabulary.types.end()) out.u32("tokenizer.ggml.unknown_token_id", unknown - vocabulary.types.begin());
  return {};
}

// The rule whose words the pre-tokenizer cuts; null for another.
const WordRule* word_rule(const JsonTree& root) {
  std::string pattern;
  bool bytes = false;
  const JsonTree none;
  const JsonTree& pre = root.contains("pre_tokenizer") ? root["pre_tokenizer"] : none;
  const JsonTree parts = pre.is_object() && pre.contains("pretokenizers") ? pre["pretokenizers"] : JsonTree{pre};
  for (const JsonTree& part : parts) {
    if (!part.is_object()) return nullptr;
    const JsonTree type = part.value("type", none);
    if (type == "ByteLevel") {
      bytes = true;
      if (part.value("add_prefix_space", true)) return nullptr;
      if (part.value("use_regex", true)) pattern = gpt2_words;
    } else if (type == "Split" && part.contains("pattern") && part["pattern"].is_object() &&
               part["pattern"].value("Regex", none).is_string()) {
      pattern = part["pattern"]["Regex"].get<std::string>();
    } else {
      return nullptr;
    }
  }
  const bool compose = root.contains("normalizer") && root["normalizer"].is_object();
  const bool whole = root["model"].value("ignore_merges", false);
  for (const WordRule& rule : word_rules)
    if (bytes && rule.pattern == pattern && rule.compose == compose && rule.whole_words == whole) return &rule;
  return nullptr;
}

Status add_byte_pairs(const std::string& path, std::int64_t rows, GgufHeaderWriter& out) {
  VN_ASSIGN(const std::string text, read_text_file(path, max_file_bytes));
  const JsonTree root = JsonTree::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!root.is_object() || !root.contains("model") || !root["model"].is_object() || !root["model"].contains("vocab") ||
      !root["model"]["vocab"].is_object() || !root["model"].contains("merges") || !root["model"]["merges"].is_array())
    return fail(ErrorCode::unsupported, "{}: wanted a byte-pair model with vocab and merges", path);
  const WordRule* rule = word_rule(root);
  if (!rule) {
    std::string known;
    for (const WordRule& r : word_rules) known += (known.empty() ? "" : ", ") + std::string(r.name);
    return with_hint(fail(ErrorCode::unsupported, "{}: GGUF names word rules, and none known here is this one", path),
                     fmt::format("known are {}", known));
  }
  Vocabulary vocabulary;
  for (std::int64_t id = 0; id < rows; ++id) vocabulary.add(fmt::format("[PAD{}]", id), piece_unused, 0);
  const auto put = [&](const std::string& token, const JsonTree& id, std::int32_t type) -> Status {
    if (!id.is_number_integer() || id < 0 || id >= rows)
      return fail(ErrorCode::mismatch, "{}: token \"{}\" has id {}, the embedding has {} rows", path, token, id.dump(),
                  rows);
    vocabulary.tokens[id.get<std::size_t>()] = token;
    vocabulary.types[id.get<std::size_t>()] = type;
    return {};
  };
  for (const auto& [token, id] : root["model"]["vocab"].items()) VN_TRY(put(token, id, piece_normal));
  const JsonTree none;
  for (const JsonTree& added : root.value("added_tokens", JsonTree::array())) {
    if (!added.is_object() || !added.value("content", none).is_string()) continue;
    const bool special = added.value("special", none) == true;
    VN_TRY(put(added["content"].get<std::string>(), added.value("id", none), special ? piece_control : piece_user));
  }
  std::vector<std::string> merges;
  for (const JsonTree& merge : root["model"]["merges"]) {
    if (merge.is_string())
      merges.push_back(merge.get<std::string>());
    else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string())
      merges.push_back(merge[0].get<std::string>() + " " + merge[1].get<std::string>());
    else
      return fail(ErrorCode::invalid, "{}: merge {} should be two pieces", path, merges.size());
  }
  out.text("tokenizer.ggml.model", "gpt2");
  out.text("tokenizer.ggml.pre", rule->name);
  out.strings("tokenizer.ggml.tokens", vocabulary.tokens);
  out.i32s("tokenizer.ggml.token_type", vocabulary.types);
  out.strings("tokenizer.ggml.merges", merges);
  return {};
}

Status add_chat_template(const std::string& folder, GgufHeaderWriter& out) {
  if (const std::string path = folder + "/chat_template.jinja"; file_exists(path)) {
    VN_ASSIGN(const std::string text, read_text_file(path, max_file_bytes));
    out.text("tokenizer.chat_template", text);
    return {};
  }
  const std::string path = folder + "/tokenizer_config.json";
  if (!file_exists(path)) return {};
  VN_ASSIGN(const std::string text, read_text_file(path, max_file_bytes));
  VN_ASSIGN(const Json config, parse_json(text, path));
  if (config.is_object() && config.contains("chat_template") && config["chat_template"].is_string())
    out.text("tokenizer.chat_template", config["chat_template"].get<std::string>());
  return {};
}

}  // namespace

bool has_tokenizer(const std::string& folder) {
  return file_exists(folder + "/tokenizer.json") || file_exists(folder + "/tokenizer.model");
}

Status add_gguf_tokenizer(const std::string& folder, std::int64_t vocabulary, GgufHeaderWriter& out) {
  if (!has_tokenizer(folder)) return {};
  VN_ASSIGN(const auto tokenizer, open_tokenizer(folder));  // refuses damaged files, and knows BOS and EOS
  if (tokenizer->vocab_size() > vocabulary)
    return fail(ErrorCode::mismatch, "{}: the tokenizer has {} tokens, the embedding {} rows", folder,
                tokenizer->vocab_size(), vocabulary);
  if (const std::string path = folder + "/tokenizer.json"; file_exists(path)) {
    VN_TRY(add_byte_pairs(path, vocabulary, out));
  } else {
    VN_TRY(add_sentencepiece(folder + "/tokenizer.model", vocabulary, out));
  }
  if (tokenizer->bos) out.u32("tokenizer.ggml.bos_token_id", *tokenizer->bos);
  if (!tokenizer->eos.empty()) out.u32("tokenizer.ggml.eos_token_id", tokenizer->eos.front());
  if (tokenizer->eos.size() > 1) out.u32("tokenizer.ggml.eot_token_id", tokenizer->eos[1]);
  out.flag("tokenizer.ggml.add_bos_token", tokenizer->add_bos);
  return add_chat_template(folder, out);
}

}  // namespace vernier
