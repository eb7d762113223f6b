#include "io/tokenizer/gguf_tokenizer.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/fail.h"
#include "io/files.h"
#include "io/tokenizer/gguf_words.h"
#include "io/tokenizer/hf_tokenizer.h"
#include "io/tokenizer/sentencepiece.h"
#include "io/tokenizer/utf8.h"
#include "tensor/mapped_file.h"

namespace vernier {
namespace {

struct Vocabulary {
  std::vector<std::string_view> tokens;
  std::vector<std::int64_t> types;
};

Result<Vocabulary> read_vocabulary(const GgufReader& metadata) {
  Vocabulary vocabulary;
  VN_ASSIGN(vocabulary.tokens, metadata.strings("tokenizer.ggml.tokens"));
  VN_ASSIGN(vocabulary.types, metadata.integers("tokenizer.ggml.token_type", vocabulary.tokens.size()));
  for (std::size_t i = 0; i < vocabulary.types.size(); ++i)
    if (vocabulary.types[i] < piece_normal || vocabulary.types[i] > piece_byte)
      return fail(ErrorCode::invalid, "{}: metadata tokenizer.ggml.token_type: token {} is of type {}, wanted 1 to 6",
                  metadata.where(), i, vocabulary.types[i]);
  return vocabulary;
}

Result<std::optional<TokenId>> special_id(const GgufReader& metadata, std::string_view name, std::size_t vocabulary) {
  const std::string key = fmt::format("tokenizer.ggml.{}_token_id", name);
  if (!metadata.has(key)) return std::optional<TokenId>();
  VN_ASSIGN(const std::int64_t id, metadata.integer(key));
  if (id >= static_cast<std::int64_t>(vocabulary))
    return fail(ErrorCode::invalid, "{}: metadata {}: {}, but there are {} tokens", metadata.where(), key, id,
                vocabulary);
  return std::optional<TokenId>(static_cast<TokenId>(id));
}

Status set_special_tokens(const GgufReader& metadata, std::size_t vocabulary, bool add_bos, Tokenizer& tokenizer) {
  VN_ASSIGN(const auto bos, special_id(metadata, "bos", vocabulary));
  tokenizer.bos = bos;
  tokenizer.eos.clear();
  for (const std::string_view name : {"eos", "eot", "eom"}) {
    VN_ASSIGN(const auto id, special_id(metadata, name, vocabulary));
    if (id && std::find(tokenizer.eos.begin(), tokenizer.eos.end(), *id) == tokenizer.eos.end())
      tokenizer.eos.push_back(*id);
  }
  VN_ASSIGN(const bool wanted, metadata.flag("tokenizer.ggml.add_bos_token", add_bos));
  tokenizer.add_bos = wanted && tokenizer.bos.has_value();
  return {};
}

// Protocol buffers, as far as a ModelProto needs them.
class ProtoWriter {
 public:
  void varint(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) text_.push_back(static_cast<char>(value | 0x80));
    text_.push_back(static_cast<char>(value));
  }
  void number(int field, std::uint64_t value) { varint(static_cast<std::uint64_t>(field) << 3), varint(value); }
  void real(int field, float value) {
    varint(static_cast<std::uint64_t>(field) << 3 | 5);
    const auto bits = std::bit_cast<std::uint32_t>(value);
    for (int shift = 0; shift < 32; shift += 8) text_.push_back(static_cast<char>(bits >> shift));
  }
  void bytes(int field, std::string_view value) {
    varint(static_cast<std::uint64_t>(field) << 3 | 2), varint(value.size());
    text_ += value;
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

Result<std::unique_ptr<Tokenizer>> make_sentencepiece(const GgufReader& metadata) {
  VN_ASSIGN(const std::string model, gguf_sentencepiece_model(metadata));
  VN_ASSIGN(auto tokenizer, parse_sentencepiece(model, metadata.where() + ": tokenizer", true));
  VN_TRY(set_special_tokens(metadata, static_cast<std::size_t>(tokenizer->vocab_size()), true, *tokenizer));
  return tokenizer;
}

JsonTree pretokenizer_of(const WordRule& rule) {
  return {{"type", "Sequence"},
          {"pretokenizers",
           {{{"type", "Split"}, {"pattern", {{"Regex", rule.pattern}}}, {"behavior", "Isolated"}, {"invert", false}},
            {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", false}}}}};
}

// The rule that the file names.
Result<const WordRule*> word_rule(const GgufReader& metadata) {
  VN_ASSIGN(const std::string pre, metadata.text("tokenizer.ggml.pre", "default"));
  const auto rule =
      std::find_if(std::begin(word_rules), std::end(word_rules), [&](const WordRule& r) { return r.name == pre; });
  if (rule == std::end(word_rules)) {
    std::string known;
    for (const WordRule& r : word_rules) known += (known.empty() ? "" : ", ") + std::string(r.name);
    return with_hint(fail(ErrorCode::unsupported, "{}: metadata tokenizer.ggml.pre: \"{}\" is not known here",
                          metadata.where(), pre),
                     fmt::format("known are {}", known));
  }
  return rule;
}

// What puts `bos` in front of a text.
JsonTree post_processor_of(const std::string& bos, TokenId id) {
  const auto special = [&](int type) { return JsonTree{{"SpecialToken", {{"id", bos}, {"type_id", type}}}}; };
  const auto text = [](const char* name, int type) {
    return JsonTree{{"Sequence", {{"id", name}, {"type_id", type}}}};
  };
  return {
      {"type", "TemplateProcessing"},
      {"single", JsonTree::array({special(0), text("A", 0)})},
      {"pair", JsonTree::array({special(0), text("A", 0), special(1), text("B", 1)})},
      {"special_tokens", {{bos, {{"id", bos}, {"ids", JsonTree::array({id})}, {"tokens", JsonTree::array({bos})}}}}}};
}

// A tokenizer.json of the file's pieces, merges and word rule.
Result<JsonTree> tokenizer_json(const GgufReader& metadata) {
  VN_ASSIGN(const Vocabulary vocabulary, read_vocabulary(metadata));
  VN_ASSIGN(const auto merges, metadata.strings("tokenizer.ggml.merges"));
  VN_ASSIGN(const WordRule* rule, word_rule(metadata));
  JsonTree vocab = JsonTree::object(), added = JsonTree::array();
  for (std::size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const std::string token = sanitize_utf8(vocabulary.tokens[id]);
    const std::int64_t type = vocabulary.types[id];
    if (type != piece_control && type != piece_user && type != piece_unknown) {
      if (type != piece_unused) vocab[token] = id;
      continue;
    }
    added.push_back({{"id", id},
                     {"content", token},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", type != piece_user}});
  }
  JsonTree bytes{{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}};
  JsonTree root{{"version", "1.0"},
                {"truncation", nullptr},
                {"padding", nullptr},
                {"added_tokens", std::move(added)},
                {"normalizer", rule->compose ? JsonTree{{"type", "NFC"}} : JsonTree()},
                {"pre_tokenizer", pretokenizer_of(*rule)},
                {"post_processor", nullptr},
                {"decoder", std::move(bytes)},
                {"model",
                 {{"type", "BPE"},
                  {"dropout", nullptr},
                  {"unk_token", nullptr},
                  {"continuing_subword_prefix", nullptr},
                  {"end_of_word_suffix", nullptr},
                  {"fuse_unk", false},
                  {"byte_fallback", false},
                  {"ignore_merges", rule->whole_words},
                  {"vocab", std::move(vocab)},
                  {"merges", std::vector<std::string>(merges.begin(), merges.end())}}}};
  VN_ASSIGN(const auto bos, special_id(metadata, "bos", vocabulary.tokens.size()));
  VN_ASSIGN(const bool add_bos, metadata.flag("tokenizer.ggml.add_bos_token", rule->add_bos));
  if (bos && add_bos)
    root["post_processor"] = post_processor_of(sanitize_utf8(vocabulary.tokens[static_cast<std::size_t>(*bos)]), *bos);
  return root;
}

Result<std::unique_ptr<Tokenizer>> make_byte_pairs(const GgufReader& metadata) {
  VN_ASSIGN(const JsonTree root, tokenizer_json(metadata));
  VN_ASSIGN(const WordRule* rule, word_rule(metadata));
  VN_ASSIGN(auto tokenizer, make_hf_tokenizer(root, metadata.where() + ": tokenizer"));
  VN_ASSIGN(const auto tokens, metadata.strings("tokenizer.ggml.tokens"));
  VN_TRY(set_special_tokens(metadata, tokens.size(), rule->add_bos, *tokenizer));
  return tokenizer;
}

}  // namespace

Result<std::string> gguf_sentencepiece_model(const GgufReader& metadata) {
  VN_ASSIGN(const Vocabulary vocabulary, read_vocabulary(metadata));
  VN_ASSIGN(const auto scores, metadata.numbers("tokenizer.ggml.scores", vocabulary.tokens.size()));
  VN_ASSIGN(const auto unknown, special_id(metadata, "unknown", vocabulary.tokens.size()));
  VN_ASSIGN(const bool prefix, metadata.flag("tokenizer.ggml.add_space_prefix", true));
  VN_ASSIGN(const bool squeeze, metadata.flag("tokenizer.ggml.remove_extra_whitespaces", false));
  const auto is = [&](PieceType type) {
    return std::find(vocabulary.types.begin(), vocabulary.types.end(), type) != vocabulary.types.end();
  };
  const bool has_unknown = is(piece_unknown);
  ProtoWriter model;
  for (std::size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    std::int64_t type = vocabulary.types[id];
    if (!has_unknown && static_cast<TokenId>(id) == unknown.value_or(0)) type = piece_unknown;
    std::string text = sanitize_utf8(vocabulary.tokens[id]);
    if (type == piece_user) text = replace_all(text, " ", metaspace);
    ProtoWriter piece;
    piece.bytes(1, text);
    piece.real(2, static_cast<float>(scores[id]));
    piece.number(3, static_cast<std::uint64_t>(type));
    model.bytes(1, piece.text());
  }
  ProtoWriter trainer;
  trainer.number(3, 2);  // byte-pair encoding
  trainer.number(35, is(piece_byte) ? 1 : 0);
  model.bytes(2, trainer.text());
  ProtoWriter normalizer;
  normalizer.bytes(1, "identity");
  normalizer.number(3, prefix ? 1 : 0);
  normalizer.number(4, squeeze ? 1 : 0);
  normalizer.number(5, 1);
  model.bytes(3, normalizer.text());
  return model.text();
}

Result<std::string> gguf_tokenizer_json(const GgufReader& metadata) {
  VN_ASSIGN(const JsonTree root, tokenizer_json(metadata));
  return root.dump(1) + "\n";
}

Result<std::unique_ptr<Tokenizer>> parse_gguf_tokenizer(const GgufReader& metadata) {
  VN_ASSIGN(const std::string model, metadata.text("tokenizer.ggml.model"));
  if (model == "llama") return make_sentencepiece(metadata);
  if (model == "gpt2") return make_byte_pairs(metadata);
  return fail(ErrorCode::unsupported, "{}: metadata tokenizer.ggml.model: \"{}\", wanted llama or gpt2",
              metadata.where(), model);
}

Result<std::unique_ptr<Tokenizer>> open_gguf_tokenizer(const std::string& path) {
  VN_ASSIGN(const auto file, MappedFile::open(path));
  VN_ASSIGN(const GgufHeader header, parse_gguf(file->bytes(), path));
  return parse_gguf_tokenizer(GgufReader(header, path));
}

Result<GgufChat> read_gguf_chat(const std::string& path) {
  VN_ASSIGN(const auto file, MappedFile::open(path));
  VN_ASSIGN(const GgufHeader header, parse_gguf(file->bytes(), path));
  const GgufReader metadata(header, path);
  GgufChat chat;
  if (!metadata.has("tokenizer.chat_template"))
    return with_hint(fail(ErrorCode::not_found, "{}: no tokenizer.chat_template in its metadata", path),
                     "the file is of a model that does not chat, or an old one");
  VN_ASSIGN(chat.chat_template, metadata.text("tokenizer.chat_template"));
  if (!metadata.has("tokenizer.ggml.tokens")) return chat;
  VN_ASSIGN(const auto tokens, metadata.strings("tokenizer.ggml.tokens"));
  VN_ASSIGN(const auto bos, special_id(metadata, "bos", tokens.size()));
  VN_ASSIGN(const auto eos, special_id(metadata, "eos", tokens.size()));
  if (bos) chat.bos = tokens[static_cast<std::size_t>(*bos)];
  if (eos) chat.eos = tokens[static_cast<std::size_t>(*eos)];
  return chat;
}

}  // namespace vernier
