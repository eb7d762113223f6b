#define PCRE2_CODE_UNIT_WIDTH 8
#include "io/tokenizer/regex.h"

#include <pcre2.h>

#include <algorithm>
#include <cctype>
#include <limits>

#include "base/log.h"
#include "io/tokenizer/utf8.h"

namespace vernier {
namespace {

constexpr std::uint32_t compile_options = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;
constexpr std::size_t max_pattern_bytes = 1 << 16;

// PCRE2's \w leaves out marks and connector punctuation, and its \s adds U+180E.
constexpr std::string_view word_class = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control})";

bool compiles(const std::string& pattern) {
  int problem = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), compile_options,
                                   &problem, &offset, nullptr);
  pcre2_code_free(code);
  return code != nullptr;
}

// Rewrites an Oniguruma (Ruby syntax) pattern so that PCRE2 matches the same text.
class Translator {
 public:
  Translator(std::string_view pattern, std::string_view where) : pattern_(pattern), where_(where) {}

  Result<std::string> run() {
    while (at_ < pattern_.size()) {
      const char c = pattern_[at_];
      if (c == '\\' && at_ + 1 < pattern_.size()) {
        VN_TRY(escape());
      } else if (in_class_) {
        VN_TRY(class_character(c));
      } else {
        if (c == '[') open_class();
        if (c == '}' && at_ + 1 < pattern_.size() && pattern_[at_ + 1] == '+') return refuse("a repeated {n,m}+");
        out_ += c;
        ++at_;
      }
    }
    return out_;
  }

 private:
  Error refuse(std::string_view what) const {
    return fail(ErrorCode::unsupported, "{}: regex \"{}\": {} is not supported", where_, pattern_, what);
  }

  // A "]" right after "[" or "[^" is a member of the class.
  void open_class() {
    in_class_ = true;
    std::size_t first = at_ + 1;
    if (first < pattern_.size() && pattern_[first] == '^') ++first;
    literal_bracket_ = first;
  }

  Status class_character(char c) {
    const std::string_view rest = pattern_.substr(at_);
    if (c == '[' && rest.substr(0, 2) != "[:") return refuse("a nested character class");
    if (rest.substr(0, 2) == "&&") return refuse("an intersection of character classes");
    if (rest.substr(0, 2) == "[:") {
      const std::size_t end = rest.find(":]");
      if (end == std::string_view::npos) return refuse("an unfinished [: :]");
      out_ += rest.substr(0, end + 2);
      at_ += end + 2;
      return {};
    }
    if (c == ']' && at_ != literal_bracket_) in_class_ = false;
    out_ += c;
    ++at_;
    return {};
  }

  Status escape() {
    const char kind = pattern_[at_ + 1];
    at_ += 2;
    switch (kind) {
      case 's':
        out_ += R"(\p{White_Space})";
        return {};
      case 'S':
        out_ += R"(\P{White_Space})";
        return {};
      case 'w':
        out_ += in_class_ ? std::string(word_class) : fmt::format("[{}]", word_class);
        return {};
      case 'W':
        if (in_class_) return refuse(R"(\W inside a character class)");
        out_ += fmt::format("[^{}]", word_class);
        return {};
      case 'h':
      case 'H':
      case 'K':
      case 'G':
        return refuse(fmt::format("\\{}", kind));
      case 'p':
      case 'P':
        return property(kind);
      default:
        out_ += '\\';
        out_ += kind;
        return {};
    }
  }

  // \p{Han} is the script alone in Oniguruma; PCRE2 would add script extensions.
  Status property(char kind) {
    const std::size_t end = pattern_.find('}', at_);
    if (at_ >= pattern_.size() || pattern_[at_] != '{' || end == std::string_view::npos) {
      return refuse(fmt::format("\\{} without braces", kind));
    }
    const std::string_view name = pattern_.substr(at_ + 1, end - at_ - 1);
    const std::string script = fmt::format("\\{}{{sc:{}}}", kind, name);
    const bool is_script = name.size() > 2 && name != "Any" && name[0] != '^' && compiles(script);
    out_ += is_script ? script : fmt::format("\\{}{{{}}}", kind, name);
    at_ = end + 1;
    return {};
  }

  std::string_view pattern_, where_;
  std::size_t at_ = 0;
  std::size_t literal_bracket_ = std::string_view::npos;
  bool in_class_ = false;
  std::string out_;
};

}  // namespace

struct Regex::Code {
  pcre2_code* code = nullptr;  // null matches nowhere
  ~Code() { pcre2_code_free(code); }
};

Regex::Regex(std::unique_ptr<Code> code) : code_(std::move(code)) {}
Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;

Result<Regex> Regex::compile(std::string_view pattern, std::string_view where) {
  if (pattern.size() > max_pattern_bytes) {
    return fail(ErrorCode::unsupported, "{}: a regex of {} bytes; at most {} are handled", where, pattern.size(),
                max_pattern_bytes);
  }
  VN_ASSIGN(const std::string translated, Translator(pattern, where).run());
  auto code = std::make_unique<Code>();
  int problem = 0;
  PCRE2_SIZE offset = 0;
  code->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(), compile_options,
                             &problem, &offset, nullptr);
  if (!code->code) {
    char text[256] = {};
    pcre2_get_error_message(problem, reinterpret_cast<PCRE2_UCHAR*>(text), sizeof text);
    return fail(ErrorCode::invalid, "{}: regex \"{}\": {}", where, pattern, text);
  }
  pcre2_jit_compile(code->code, PCRE2_JIT_COMPLETE);  // where there is no JIT, the interpreter runs
  return Regex(std::move(code));
}

Result<Regex> Regex::compile_literal(std::string_view literal, std::string_view where) {
  if (literal.empty()) return Regex(std::make_unique<Code>());
  std::string pattern;
  for (const char c : literal) {
    const bool plain = static_cast<unsigned char>(c) >= 0x80 || std::isalnum(static_cast<unsigned char>(c));
    pattern += plain ? std::string(1, c) : fmt::format("\\x{{{:x}}}", static_cast<unsigned char>(c));
  }
  return compile(pattern, where);
}

Result<Regex> Regex::from_json(const Component& owner, std::string_view key) {
  const JsonTree* json = owner.find(key);
  if (!json || !json->is_object()) return owner.wrong(key, "{\"Regex\": ...} or {\"String\": ...}");
  const Component pattern(*json, owner.where());
  if (pattern.find("String")) {
    VN_ASSIGN(const std::string literal, pattern.text("String"));
    return compile_literal(literal, owner.where());
  }
  VN_ASSIGN(const std::string regex, pattern.text("Regex"));
  return compile(regex, owner.where());
}

std::vector<Span> Regex::split(std::string_view text) const {
  std::vector<Span> spans;
  if (!code_->code) {
    if (!text.empty()) spans.push_back({0, text.size(), false});
    return spans;
  }
  pcre2_match_data* match = pcre2_match_data_create(1, nullptr);
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  // A run of n characters may cost n steps of backtracking, a pattern that explodes many more.
  const std::size_t steps = 200'000 + 64 * text.size();
  pcre2_set_match_limit(
      context, static_cast<std::uint32_t>(std::min<std::size_t>(steps, std::numeric_limits<std::uint32_t>::max())));
  const auto subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  std::size_t done = 0, from = 0;
  while (from < text.size()) {
    int found = pcre2_match(code_->code, subject, text.size(), from, PCRE2_NO_UTF_CHECK, match, context);
    if (found == PCRE2_ERROR_JIT_STACKLIMIT) {
      found = pcre2_match(code_->code, subject, text.size(), from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, match, context);
    }
    if (found < 0) {
      if (found != PCRE2_ERROR_NOMATCH) log_warn("a tokenizer's regex gave up on {} bytes of text", text.size() - from);
      break;
    }
    const PCRE2_SIZE* offsets = pcre2_get_ovector_pointer(match);
    if (offsets[0] < done || offsets[1] < offsets[0]) break;
    if (offsets[1] == offsets[0]) {  // an empty match separates nothing
      from = offsets[1] < text.size() ? offsets[1] + utf8_length(text[offsets[1]]) : text.size();
      continue;
    }
    if (offsets[0] > done) spans.push_back({done, offsets[0], false});
    spans.push_back({offsets[0], offsets[1], true});
    done = from = offsets[1];
  }
  pcre2_match_context_free(context);
  pcre2_match_data_free(match);
  if (done < text.size()) spans.push_back({done, text.size(), false});
  return spans;
}

std::string Regex::replace(std::string_view text, std::string_view content) const {
  std::string out;
  for (const Span& span : split(text)) out += span.matched ? content : text.substr(span.begin, span.end - span.begin);
  return out;
}

}  // namespace vernier
