#include "io/tokenizer/pretokenizer.h"

#include <algorithm>

#include "io/tokenizer/byte_alphabet.h"
#include "io/tokenizer/regex.h"
#include "io/tokenizer/utf8.h"

namespace vernier {
namespace {

// GPT-2's word pattern, built into "ByteLevel".
constexpr std::string_view byte_level_pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// What becomes of a delimiter that was found.
enum class Behavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

Result<Behavior> parse_behavior(const Component& component) {
  VN_ASSIGN(const std::string name, component.text("behavior"));
  if (name == "Removed") return Behavior::removed;
  if (name == "Isolated") return Behavior::isolated;
  if (name == "MergedWithPrevious") return Behavior::merged_with_previous;
  if (name == "MergedWithNext") return Behavior::merged_with_next;
  if (name == "Contiguous") return Behavior::contiguous;
  return component.unsupported(fmt::format("behavior \"{}\"", name));
}

// A delimiter joins its neighbour only when the span before it (in the direction of travel) was no delimiter.
std::vector<Span> merge_delimiters(const std::vector<Span>& spans) {
  std::vector<Span> out;
  bool previous_matched = false;
  for (const Span& span : spans) {
    if (span.matched && !previous_matched && !out.empty()) {
      out.back() = {std::min(out.back().begin, span.begin), std::max(out.back().end, span.end), false};
    } else {
      out.push_back(span);
    }
    previous_matched = span.matched;
  }
  return out;
}

std::vector<Span> apply_behavior(std::vector<Span> spans, Behavior behavior) {
  switch (behavior) {
    case Behavior::isolated:
      return spans;
    case Behavior::removed:
      std::erase_if(spans, [](const Span& span) { return span.matched; });
      return spans;
    case Behavior::merged_with_previous:
      return merge_delimiters(spans);
    case Behavior::merged_with_next:
      std::reverse(spans.begin(), spans.end());
      spans = merge_delimiters(spans);
      std::reverse(spans.begin(), spans.end());
      return spans;
    case Behavior::contiguous: {
      std::vector<Span> out;
      for (const Span& span : spans) {
        if (!out.empty() && out.back().matched == span.matched) {
          out.back().end = span.end;
        } else {
          out.push_back(span);
        }
      }
      return out;
    }
  }
  return spans;
}

class Split : public PreTokenizer {
 public:
  Split(Regex pattern, Behavior behavior, bool invert)
      : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}

  std::vector<Piece> apply(std::vector<Piece> pieces) const override {
    std::vector<Piece> out;
    for (Piece& piece : pieces) {
      std::vector<Span> spans = pattern_.split(piece.text);
      if (invert_) {
        for (Span& span : spans) span.matched = !span.matched;
      }
      for (const Span& span : apply_behavior(std::move(spans), behavior_)) {
        out.push_back({piece.text.substr(span.begin, span.end - span.begin), piece.at_start && span.begin == 0});
      }
    }
    return out;
  }

 private:
  Regex pattern_;
  Behavior behavior_;
  bool invert_;
};

class AddPrefixSpace : public PreTokenizer {
 public:
  std::vector<Piece> apply(std::vector<Piece> pieces) const override {
    for (Piece& piece : pieces) {
      if (!piece.text.starts_with(' ')) piece.text.insert(0, 1, ' ');
    }
    return pieces;
  }
};

class ToByteAlphabet : public PreTokenizer {
 public:
  std::vector<Piece> apply(std::vector<Piece> pieces) const override {
    for (Piece& piece : pieces) piece.text = bytes_to_alphabet(piece.text);
    return pieces;
  }
};

// Spaces become a visible character, which leads each word.
class Metaspace : public PreTokenizer {
 public:
  enum class Prefix { always, first, never };
  Metaspace(std::string space, Prefix prefix) : space_(std::move(space)), prefix_(prefix) {}

  std::vector<Piece> apply(std::vector<Piece> pieces) const override {
    for (Piece& piece : pieces) {
      piece.text = replace_all(piece.text, " ", space_);
      const bool wanted = prefix_ == Prefix::always || (prefix_ == Prefix::first && piece.at_start);
      if (wanted && !piece.text.starts_with(space_)) piece.text.insert(0, space_);
    }
    return pieces;
  }

 private:
  std::string space_;
  Prefix prefix_;
};

using Chain = std::vector<std::unique_ptr<PreTokenizer>>;

Status add_split(const Component& component, Chain& chain) {
  VN_ASSIGN(Regex pattern, Regex::from_json(component, "pattern"));
  VN_ASSIGN(const Behavior behavior, parse_behavior(component));
  VN_ASSIGN(const bool invert, component.flag("invert", false));
  chain.push_back(std::make_unique<Split>(std::move(pattern), behavior, invert));
  return {};
}

Status add_byte_level(const Component& component, Chain& chain) {
  VN_ASSIGN(const bool add_prefix_space, component.flag("add_prefix_space", true));
  VN_ASSIGN(const bool use_regex, component.flag("use_regex", true));
  if (add_prefix_space) chain.push_back(std::make_unique<AddPrefixSpace>());
  if (use_regex) {
    VN_ASSIGN(Regex pattern, Regex::compile(byte_level_pattern, component.where()));
    chain.push_back(std::make_unique<Split>(std::move(pattern), Behavior::isolated, false));
  }
  chain.push_back(std::make_unique<ToByteAlphabet>());
  return {};
}

// Files before prepend_scheme have add_prefix_space in its place, and no "split".
Status add_metaspace(const Component& component, Chain& chain) {
  VN_ASSIGN(std::string space, component.text("replacement"));
  VN_ASSIGN(const bool add_prefix_space, component.flag("add_prefix_space", true));
  VN_ASSIGN(const std::string scheme, component.text("prepend_scheme", add_prefix_space ? "always" : "never"));
  VN_ASSIGN(const bool split, component.flag("split", true));
  if (space.empty() || utf8_length(space[0]) != space.size()) return component.wrong("replacement", "one character");
  Metaspace::Prefix prefix = Metaspace::Prefix::always;
  if (scheme == "first") {
    prefix = Metaspace::Prefix::first;
  } else if (scheme == "never") {
    prefix = Metaspace::Prefix::never;
  } else if (scheme != "always") {
    return component.unsupported(fmt::format("prepend_scheme \"{}\"", scheme));
  }
  VN_ASSIGN(Regex pattern, Regex::compile_literal(space, component.where()));
  chain.push_back(std::make_unique<Metaspace>(std::move(space), prefix));
  if (split) chain.push_back(std::make_unique<Split>(std::move(pattern), Behavior::merged_with_next, false));
  return {};
}

Status add_pretokenizer(const Component& component, Chain& chain) {
  VN_ASSIGN(const std::string type, component.type());
  if (type == "ByteLevel") return add_byte_level(component, chain);
  if (type == "Split") return add_split(component, chain);
  if (type == "Metaspace") return add_metaspace(component, chain);
  if (type == "Digits") {
    VN_ASSIGN(const bool each, component.flag("individual_digits", false));
    VN_ASSIGN(Regex pattern, Regex::compile(R"(\p{N})", component.where()));
    chain.push_back(
        std::make_unique<Split>(std::move(pattern), each ? Behavior::isolated : Behavior::contiguous, false));
    return {};
  }
  if (type == "Whitespace") {
    VN_ASSIGN(Regex pattern, Regex::compile(R"(\w+|(?:(?!\w)\S)+)", component.where()));
    chain.push_back(std::make_unique<Split>(std::move(pattern), Behavior::removed, true));
    return {};
  }
  return component.unsupported(fmt::format("pre_tokenizer \"{}\"", type));
}

}  // namespace

Result<std::vector<std::unique_ptr<PreTokenizer>>> make_pretokenizers(const JsonTree& json, const std::string& where) {
  VN_ASSIGN(const std::vector<Component> components, flatten_sequence(json, "pretokenizers", where));
  Chain chain;
  for (const Component& component : components) VN_TRY(add_pretokenizer(component, chain));
  return chain;
}

}  // namespace vernier
