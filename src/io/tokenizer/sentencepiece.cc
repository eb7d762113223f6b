#include "io/tokenizer/sentencepiece.h"

#include <sentencepiece_processor.h>

#include <cctype>
#include <exception>

#include "base/fail.h"
#include "base/log.h"
#include "io/files.h"
#include "io/tokenizer/piece_trie.h"
#include "io/tokenizer/utf8.h"

// Exported by the library, absent from its public headers; without it load errors are also printed to stderr.
namespace sentencepiece::logging {
void SetMinLogLevel(int level);
}

namespace vernier {
namespace {

using sentencepiece::SentencePieceProcessor;

// The library's time grows faster than its text; longer texts go in parts of about this size.
constexpr std::size_t part_bytes = 2048;

constexpr int log_nothing_below_fatal = 3;

// ModelProto { normalizer_spec (field 3) { add_dummy_prefix (field 3): false } }. A message appended to a serialized
// one is merged into it.
constexpr std::string_view no_dummy_prefix{"\x1A\x02\x18\x00", 4};

class SentencePieceTokenizer : public Tokenizer {
 public:
  SentencePieceTokenizer(std::unique_ptr<SentencePieceProcessor> model,
                         std::unique_ptr<SentencePieceProcessor> without_prefix, bool prefix_after_special)
      : model_(std::move(model)),
        without_prefix_(std::move(without_prefix)),
        prefix_after_special_(prefix_after_special) {
    for (int id = 0; id < model_->GetPieceSize(); ++id) {
      if (is_special(id)) specials_.add(model_->IdToPiece(id), id);
    }
    std::vector<std::string> pieces;
    has_prefix_ = model_->Encode("a", &pieces).ok() && !pieces.empty() && pieces[0].starts_with(metaspace);
    parts_are_exact_ = keeps_words_apart();
    const auto valid = [](int id) { return id >= 0 ? std::optional<TokenId>(id) : std::nullopt; };
    bos = valid(model_->bos_id());
    add_bos = bos.has_value();
    if (const auto id = valid(model_->eos_id())) eos = {*id};
  }

  std::int64_t vocab_size() const override { return model_->GetPieceSize(); }

  std::vector<TokenId> encode(std::string_view text, bool parse_special) const override {
    std::vector<TokenId> out;
    const std::string clean = sanitize_utf8(text);
    const std::string_view view = clean;
    std::size_t done = 0;
    for (std::size_t at = 0; parse_special && at < view.size();) {
      std::size_t length = 0;
      const std::int32_t id = specials_.longest(view, at, length);
      if (id < 0) {
        ++at;
        continue;
      }
      encode_plain(view.substr(done, at - done), done == 0, out);
      out.push_back(id);
      done = at = at + length;
    }
    encode_plain(view.substr(done), done == 0, out);
    return out;
  }

  std::string decode(const std::vector<TokenId>& ids, bool with_special) const override {
    std::string out;
    for (const TokenId id : ids) {
      if (!in_range(id)) continue;
      if (is_special(id)) {
        if (with_special) out += model_->IdToPiece(id);
      } else if (model_->IsByte(id)) {
        out.push_back(static_cast<char>(byte_of(id)));
      } else {
        out += replace_all(model_->IdToPiece(id), metaspace, " ");
      }
    }
    if (has_prefix_ && out.starts_with(' ')) out.erase(0, 1);
    return sanitize_utf8(out);
  }

  std::string piece(TokenId id) const override { return in_range(id) ? model_->IdToPiece(id) : std::string(); }

  std::optional<TokenId> id_of(std::string_view piece) const override {
    const int id = model_->PieceToId(piece);  // the unknown id for what is not there
    if (!in_range(id) || model_->IdToPiece(id) != piece) return std::nullopt;
    return id;
  }

  bool is_special(TokenId id) const override {
    return in_range(id) && (model_->IsControl(id) || model_->IsUnknown(id));
  }

 private:
  bool in_range(TokenId id) const { return id >= 0 && id < model_->GetPieceSize(); }

  // Byte pieces are named "<0x0A>".
  int byte_of(TokenId id) const {
    return static_cast<int>(std::stoul(model_->IdToPiece(id).substr(3, 2), nullptr, 16));
  }

  // Whether words can be encoded one at a time: no piece reaches over a space into the next word, and a leading space
  // is kept.
  bool keeps_words_apart() const {
    for (int id = 0; id < model_->GetPieceSize(); ++id) {
      if (!spaces_lead(model_->IdToPiece(id))) return false;
    }
    std::vector<std::string> pieces;
    return id_of(metaspace) && without_prefix_->Encode(" a", &pieces).ok() && !pieces.empty() &&
           pieces[0].starts_with(metaspace);
  }

  // Bytes up to a lone space between two letters or digits, where nothing the normalizer joins can lie.
  std::size_t part_of(std::string_view text) const {
    const auto plain = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0; };
    for (std::size_t at = part_bytes; parts_are_exact_ && at + 1 < text.size(); ++at) {
      if (text[at] == ' ' && plain(text[at - 1]) && plain(text[at + 1])) return at;
    }
    return text.size();
  }

  void encode_plain(std::string_view text, bool at_start, std::vector<TokenId>& out) const {
    const SentencePieceProcessor* processor = at_start || prefix_after_special_ ? model_.get() : without_prefix_.get();
    while (!text.empty()) {
      const std::string_view part = text.substr(0, part_of(text));
      std::vector<int> ids;
      if (const auto status = processor->Encode(part, &ids); !status.ok()) {
        log_warn("SentencePiece could not encode {} bytes of text: {}", part.size(), status.ToString());
      }
      out.insert(out.end(), ids.begin(), ids.end());
      text.remove_prefix(part.size());
      processor = without_prefix_.get();
    }
  }

  std::unique_ptr<SentencePieceProcessor> model_, without_prefix_;
  bool prefix_after_special_, has_prefix_ = false, parts_are_exact_ = false;
  PieceTrie specials_;
};

}  // namespace

Result<std::unique_ptr<Tokenizer>> parse_sentencepiece(const std::string& model, const std::string& where,
                                                       bool prefix_after_special) try {
  sentencepiece::logging::SetMinLogLevel(log_nothing_below_fatal);
  const auto load = [](std::string_view bytes, auto& processor) {
    processor = std::make_unique<SentencePieceProcessor>();
    return processor->LoadFromSerializedProto(bytes);
  };
  std::unique_ptr<SentencePieceProcessor> whole, without_prefix;
  auto status = load(model, whole);
  if (status.ok()) status = load(model + std::string(no_dummy_prefix), without_prefix);
  if (!status.ok() || whole->GetPieceSize() == 0) {
    return fail(ErrorCode::invalid, "{}: not a SentencePiece model: {}", where,
                status.ok() ? "it has no pieces" : status.ToString());
  }
  std::unique_ptr<Tokenizer> tokenizer =
      std::make_unique<SentencePieceTokenizer>(std::move(whole), std::move(without_prefix), prefix_after_special);
  return tokenizer;
} catch (const std::exception& problem) {
  return fail(ErrorCode::invalid, "{}: not a SentencePiece model: {}", where, problem.what());
}

}  // namespace vernier
