#include "io/tokenizer/hf_tokenizer.h"

#include <algorithm>

#include "io/files.h"
#include "io/tokenizer/added_tokens.h"
#include "io/tokenizer/bpe.h"
#include "io/tokenizer/component.h"
#include "io/tokenizer/normalizer.h"
#include "io/tokenizer/pretokenizer.h"
#include "io/tokenizer/token_decoder.h"

namespace vernier {
namespace {

struct Parts {
  AddedTokens added;
  std::vector<std::unique_ptr<Normalizer>> normalizers;
  std::vector<std::unique_ptr<PreTokenizer>> pretokenizers;
  Bpe bpe;
  std::vector<std::unique_ptr<TokenDecoder>> decoders;
};

class HfTokenizer : public Tokenizer {
 public:
  explicit HfTokenizer(Parts parts) : parts_(std::move(parts)) {}

  std::int64_t vocab_size() const override { return std::max(parts_.bpe.id_end(), parts_.added.id_end()); }

  std::vector<TokenId> encode(std::string_view text, bool parse_special) const override {
    std::vector<TokenId> ids;
    const std::string clean = sanitize_utf8(text);
    for (const Fragment& raw : parts_.added.split_raw(clean, parse_special)) {
      if (raw.id >= 0) {
        ids.push_back(raw.id);
        continue;
      }
      const std::string normalized = normalize(parts_.normalizers, std::string(raw.text));
      for (const Fragment& fragment : parts_.added.split_normalized(normalized, parse_special)) {
        if (fragment.id >= 0) {
          ids.push_back(fragment.id);
        } else {
          const bool at_start = raw.text.data() == clean.data() && fragment.text.data() == normalized.data();
          encode_words({std::string(fragment.text), at_start}, ids);
        }
      }
    }
    return ids;
  }

  std::string decode(const std::vector<TokenId>& ids, bool with_special) const override {
    std::vector<std::string> pieces;
    for (const TokenId id : ids) {
      if (!with_special && is_special(id)) continue;
      const std::string* text = parts_.added.piece(id);
      if (!text) text = parts_.bpe.piece(id);
      if (text) pieces.push_back(*text);
    }
    for (const auto& decoder : parts_.decoders) pieces = decoder->apply(std::move(pieces));
    const std::string_view separator = parts_.decoders.empty() ? " " : "";
    std::string out;
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      if (i > 0) out += separator;
      out += pieces[i];
    }
    return out;
  }

  std::string piece(TokenId id) const override {
    const std::string* content = parts_.added.content(id);
    if (!content) content = parts_.bpe.piece(id);
    return content ? *content : std::string();
  }

  std::optional<TokenId> id_of(std::string_view piece) const override {
    const auto added = parts_.added.id_of(piece);
    return added ? added : parts_.bpe.id_of(piece);
  }

  bool is_special(TokenId id) const override { return parts_.added.is_special(id); }

 private:
  void encode_words(Piece text, std::vector<TokenId>& ids) const {
    std::vector<Piece> words;
    words.push_back(std::move(text));
    for (const auto& pretokenizer : parts_.pretokenizers) words = pretokenizer->apply(std::move(words));
    for (const Piece& word : words) parts_.bpe.encode(word.text, ids);
  }

  Parts parts_;
};

// The special token that the template of a single text begins with, or "".
Result<std::string> leading_token(const JsonTree& post_processor, const std::string& where) {
  VN_ASSIGN(const std::vector<Component> processors, flatten_sequence(post_processor, "processors", where));
  for (const Component& processor : processors) {
    VN_ASSIGN(const std::string type, processor.type());
    const JsonTree* single = type == "TemplateProcessing" ? processor.find("single") : nullptr;
    if (!single || !single->is_array() || single->empty()) continue;
    const Component first((*single)[0], fmt::format("{}: single[0]", processor.where()));
    if (const JsonTree* special = first.find("SpecialToken")) return Component(*special, first.where()).text("id");
  }
  return std::string();
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> make_hf_tokenizer(const JsonTree& root, const std::string& where) {
  const Component file(root, where);
  if (!file.is_object()) return fail(ErrorCode::invalid, "{}: expected an object, found {}", where, root.type_name());
  const JsonTree null;
  const auto part = [&](const char* key) -> const JsonTree& {
    const JsonTree* json = file.find(key);
    return json ? *json : null;
  };
  const auto at = [&](const char* key) { return fmt::format("{}: {}", where, key); };

  Parts parts;
  VN_ASSIGN(parts.bpe, Bpe::parse(Component(part("model"), at("model"))));
  VN_ASSIGN(parts.normalizers, make_normalizers(part("normalizer"), at("normalizer")));
  VN_ASSIGN(parts.pretokenizers, make_pretokenizers(part("pre_tokenizer"), at("pre_tokenizer")));
  VN_ASSIGN(parts.decoders, make_decoders(part("decoder"), at("decoder")));
  VN_ASSIGN(parts.added,
            AddedTokens::parse(part("added_tokens"), at("added_tokens"), parts.bpe.id_end(), parts.normalizers));
  VN_ASSIGN(const std::string leading, leading_token(part("post_processor"), at("post_processor")));

  std::unique_ptr<Tokenizer> tokenizer = std::make_unique<HfTokenizer>(std::move(parts));
  tokenizer->bos = tokenizer->id_of(leading);
  tokenizer->add_bos = tokenizer->bos.has_value();
  return tokenizer;
}

Result<std::unique_ptr<Tokenizer>> parse_tokenizer_json(std::string_view text, const std::string& where) {
  const JsonTree root = JsonTree::parse(text, nullptr, /*allow_exceptions=*/false);
  if (root.is_discarded()) return fail(ErrorCode::invalid, "{}: not valid JSON", where);
  return make_hf_tokenizer(root, where);
}

}  // namespace vernier
