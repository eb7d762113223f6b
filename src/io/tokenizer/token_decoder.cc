#include "io/tokenizer/token_decoder.h"

#include "io/files.h"
#include "io/tokenizer/byte_alphabet.h"
#include "io/tokenizer/regex.h"
#include "io/tokenizer/utf8.h"

namespace vernier {
namespace {

class FromByteAlphabet : public TokenDecoder {
 public:
  // A piece that is not of the alphabet (an added token with a space in it) is text already.
  std::vector<std::string> apply(std::vector<std::string> pieces) const override {
    std::string bytes;
    for (const std::string& piece : pieces) bytes += alphabet_to_bytes(piece).value_or(piece);
    return {sanitize_utf8(bytes)};
  }
};

class ReplaceInPieces : public TokenDecoder {
 public:
  ReplaceInPieces(Regex pattern, std::string content) : pattern_(std::move(pattern)), content_(std::move(content)) {}
  std::vector<std::string> apply(std::vector<std::string> pieces) const override {
    for (std::string& piece : pieces) piece = pattern_.replace(piece, content_);
    return pieces;
  }

 private:
  Regex pattern_;
  std::string content_;
};

// Runs of byte pieces become characters. What is not UTF-8 in a run is replaced by itself, so that text already
// decoded never changes when more bytes follow.
class ByteFallback : public TokenDecoder {
 public:
  std::vector<std::string> apply(std::vector<std::string> pieces) const override {
    std::vector<std::string> out;
    std::string bytes;
    const auto flush = [&] {
      if (!bytes.empty()) out.push_back(sanitize_utf8(bytes));
      bytes.clear();
    };
    for (std::string& piece : pieces) {
      if (const int byte = byte_of_piece(piece); byte >= 0) {
        bytes.push_back(static_cast<char>(byte));
      } else {
        flush();
        out.push_back(std::move(piece));
      }
    }
    flush();
    return out;
  }
};

class Fuse : public TokenDecoder {
 public:
  std::vector<std::string> apply(std::vector<std::string> pieces) const override {
    std::string all;
    for (const std::string& piece : pieces) all += piece;
    return {all};
  }
};

// Takes up to `start` copies of a character off the front of each piece, and up to `stop` off its end.
class StripCharacter : public TokenDecoder {
 public:
  StripCharacter(std::string character, std::int64_t start, std::int64_t stop)
      : character_(std::move(character)), start_(start), stop_(stop) {}
  std::vector<std::string> apply(std::vector<std::string> pieces) const override {
    for (std::string& piece : pieces) {
      for (std::int64_t i = 0; i < start_ && piece.starts_with(character_); ++i) piece.erase(0, character_.size());
      for (std::int64_t i = 0; i < stop_ && piece.ends_with(character_); ++i) {
        piece.resize(piece.size() - character_.size());
      }
    }
    return pieces;
  }

 private:
  std::string character_;
  std::int64_t start_, stop_;
};

class FromMetaspace : public TokenDecoder {
 public:
  FromMetaspace(std::string space, bool prefixed) : space_(std::move(space)), prefixed_(prefixed) {}
  std::vector<std::string> apply(std::vector<std::string> pieces) const override {
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      pieces[i] = replace_all(pieces[i], space_, i == 0 && prefixed_ ? "" : " ");
    }
    return pieces;
  }

 private:
  std::string space_;
  bool prefixed_;
};

template <class T, class... Args>
std::unique_ptr<TokenDecoder> make(Args&&... args) {
  return std::make_unique<T>(std::forward<Args>(args)...);
}

Result<std::unique_ptr<TokenDecoder>> make_decoder(const Component& component) {
  VN_ASSIGN(const std::string type, component.type());
  if (type == "ByteLevel") return make<FromByteAlphabet>();
  if (type == "ByteFallback") return make<ByteFallback>();
  if (type == "Fuse") return make<Fuse>();
  if (type == "Replace") {
    VN_ASSIGN(Regex pattern, Regex::from_json(component, "pattern"));
    VN_ASSIGN(std::string content, component.text("content"));
    return make<ReplaceInPieces>(std::move(pattern), std::move(content));
  }
  if (type == "Strip") {
    VN_ASSIGN(std::string character, component.text("content"));
    VN_ASSIGN(const std::int64_t start, component.integer("start"));
    VN_ASSIGN(const std::int64_t stop, component.integer("stop"));
    if (character.empty()) return component.wrong("content", "one character");
    return make<StripCharacter>(std::move(character), start, stop);
  }
  if (type == "Metaspace") {
    VN_ASSIGN(std::string space, component.text("replacement"));
    VN_ASSIGN(const bool add_prefix_space, component.flag("add_prefix_space", true));
    VN_ASSIGN(const std::string scheme, component.text("prepend_scheme", add_prefix_space ? "always" : "never"));
    if (space.empty()) return component.wrong("replacement", "one character");
    return make<FromMetaspace>(std::move(space), scheme != "never");
  }
  return component.unsupported(fmt::format("decoder \"{}\"", type));
}

}  // namespace

Result<std::vector<std::unique_ptr<TokenDecoder>>> make_decoders(const JsonTree& json, const std::string& where) {
  VN_ASSIGN(const std::vector<Component> components, flatten_sequence(json, "decoders", where));
  std::vector<std::unique_ptr<TokenDecoder>> out;
  for (const Component& component : components) {
    VN_ASSIGN(auto decoder, make_decoder(component));
    out.push_back(std::move(decoder));
  }
  return out;
}

int byte_of_piece(std::string_view piece) {
  if (piece.size() != 6 || !piece.starts_with("<0x") || piece[5] != '>') return -1;
  const auto digit = [](char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                  : -1;
  };
  const int high = digit(piece[3]), low = digit(piece[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

}  // namespace vernier
