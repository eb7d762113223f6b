#include "io/chat/lexer.h"

#include <algorithm>
#include <cctype>

#include "base/fail.h"
#include "io/tokenizer/utf8.h"

namespace vernier::chat {
namespace {

using Kind = Token::Kind;

bool is_digit(char c) { return std::isdigit(static_cast<unsigned char>(c)) != 0; }
bool is_name_start(char c) { return std::isalpha(static_cast<unsigned char>(c)) || c == '_'; }
bool is_name(char c) { return is_name_start(c) || is_digit(c); }
bool is_blank(char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; }

// \r\n and \r become \n; one newline at the end goes.
std::string with_plain_newlines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      out += source[i];
    }
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : text_(with_plain_newlines(source)) {}

  Result<std::vector<Token>> run() {
    while (at_ < text_.size()) {
      const std::size_t tag = next_tag();
      if (tag == std::string::npos) {
        add_text(text_.substr(at_));
        advance(text_.size());
        break;
      }
      const char kind = text_[tag + 1];
      const char sign = tag + 2 < text_.size() ? text_[tag + 2] : ' ';
      add_text(trimmed(text_.substr(at_, tag - at_), kind, sign));
      advance(tag + 2);
      if (kind == '#') {
        VN_TRY(comment());
      } else {
        if (sign == '-' || sign == '+') advance(at_ + 1);
        VN_TRY(tag_tokens(kind == '{' ? '}' : '%'));
      }
    }
    add(Kind::end, "");
    return std::move(tokens_);
  }

 private:
  Error problem(std::string_view what) const { return fail(ErrorCode::invalid, "line {}: {}", line_, what); }

  std::size_t next_tag() const {
    std::size_t at = at_;
    while ((at = text_.find('{', at)) != std::string::npos) {
      if (at + 1 < text_.size() && (text_[at + 1] == '{' || text_[at + 1] == '%' || text_[at + 1] == '#')) return at;
      ++at;
    }
    return at;
  }

  std::string trimmed(std::string text, char kind, char sign) const {
    if (sign == '-') {
      text.resize(without_trailing_space_bytes(text));
    } else if (sign != '+' && kind != '{') {
      const std::size_t line_start = text.rfind('\n') + 1;  // 0 where there is no newline
      if ((line_start > 0 || at_line_start_) && std::all_of(text.begin() + line_start, text.end(), is_blank)) {
        text.resize(line_start);
      }
    }
    return text;
  }

  void advance(std::size_t to) {
    line_ += static_cast<int>(std::count(text_.begin() + at_, text_.begin() + to, '\n'));
    at_ = to;
  }
  void add(Kind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }
  void add_text(std::string text) {
    if (!text.empty()) add(Kind::text, std::move(text));
  }

  // After a tag's end: "-" takes all white space, a block or comment one newline.
  void finish_tag(bool strip, bool trim_newline) {
    if (strip) {
      advance(at_ + leading_space_bytes(std::string_view(text_).substr(at_)));
    } else if (trim_newline && at_ < text_.size() && text_[at_] == '\n') {
      advance(at_ + 1);
    }
    at_line_start_ = at_ > 0 && text_[at_ - 1] == '\n';
  }

  Status comment() {
    const std::size_t end = text_.find("#}", at_);
    if (end == std::string::npos) return problem("a comment without #}");
    const bool strip = end > at_ && text_[end - 1] == '-';
    advance(end + 2);
    finish_tag(strip, true);
    return {};
  }

  // Tokens up to "}}" or "%}"; `closer` is its first character.
  Status tag_tokens(char closer) {
    const bool output = closer == '}';
    add(output ? Kind::output_begin : Kind::block_begin, "");
    int open_brackets = 0;
    for (;;) {
      while (at_ < text_.size() && is_blank(text_[at_])) advance(at_ + 1);
      if (at_ >= text_.size()) return problem(output ? "{{ without }}" : "{% without %}");
      const std::string_view rest = std::string_view(text_).substr(at_);
      const std::size_t sign = rest[0] == '-' || (rest[0] == '+' && !output) ? 1 : 0;
      if (open_brackets == 0 && rest.size() > sign + 1 && rest[sign] == closer && rest[sign + 1] == '}') {
        add(output ? Kind::output_end : Kind::block_end, "");
        advance(at_ + sign + 2);
        finish_tag(sign == 1 && rest[0] == '-', !output && sign == 0);
        return {};
      }
      const char c = rest[0];
      if (c == '(' || c == '[' || c == '{') ++open_brackets;
      if ((c == ')' || c == ']' || c == '}') && --open_brackets < 0) return problem(fmt::format("unmatched {}", c));
      VN_TRY(expression_token(rest));
    }
  }

  Status expression_token(std::string_view rest) {
    const char c = rest[0];
    if (is_name_start(c)) {
      const auto end = std::find_if_not(rest.begin(), rest.end(), is_name);
      take(Kind::name, static_cast<std::size_t>(end - rest.begin()));
      return {};
    }
    if (is_digit(c)) return number(rest);
    if (c == '\'' || c == '"') return string(rest);
    for (const std::string_view symbol : {"==", "!=", "<=", ">=", "//", "**"}) {
      if (rest.starts_with(symbol)) {
        take(Kind::symbol, 2);
        return {};
      }
    }
    if (std::string_view("+-*/%~<>=|()[]{}.,:").find(c) == std::string_view::npos) {
      return problem(fmt::format("unexpected character '{}'", utf8_character(rest, 0)));
    }
    take(Kind::symbol, 1);
    return {};
  }

  void take(Kind kind, std::size_t length) {
    add(kind, text_.substr(at_, length));
    advance(at_ + length);
  }

  Status number(std::string_view rest) {
    std::size_t end = 0;
    while (end < rest.size() && is_digit(rest[end])) ++end;
    const bool real = end + 1 < rest.size() && rest[end] == '.' && is_digit(rest[end + 1]);
    if (real) {
      ++end;
      while (end < rest.size() && is_digit(rest[end])) ++end;
    }
    if (end < rest.size() && is_name(rest[end])) return problem("a number that runs into a name");
    if (end > 18) return problem("a number with too many digits");
    take(real ? Kind::real : Kind::integer, end);
    return {};
  }

  Status string(std::string_view rest) {
    std::string out;
    for (std::size_t i = 1; i < rest.size(); ++i) {
      if (rest[i] == rest[0]) {
        add(Kind::string, std::move(out));
        advance(at_ + i + 1);
        return {};
      }
      if (rest[i] != '\\' || i + 1 == rest.size()) {
        out += rest[i];
        continue;
      }
      VN_TRY(escape(rest, ++i, out));
    }
    return problem("a string without its closing quote");
  }

  // Python's escapes; `i` is at the character after the backslash and ends at the last one taken.
  Status escape(std::string_view rest, std::size_t& i, std::string& out) const {
    constexpr std::string_view names = "ntrfvab0\\'\"", characters("\n\t\r\f\v\a\b\0\\'\"", 11);
    const char c = rest[i];
    if (const std::size_t known = names.find(c); known != std::string_view::npos) {
      out += characters[known];
    } else if (c == 'x' || c == 'u') {
      const std::size_t digits = c == 'x' ? 2 : 4;
      char32_t code = 0;
      for (std::size_t d = 1; d <= digits; ++d) {
        const char digit = i + d < rest.size() ? rest[i + d] : ' ';
        if (!std::isxdigit(static_cast<unsigned char>(digit))) return problem("an unfinished \\x or \\u");
        code = code * 16 + static_cast<char32_t>(is_digit(digit) ? digit - '0' : (digit | 0x20) - 'a' + 10);
      }
      if (code >= 0xD800 && code < 0xE000) return problem("a surrogate in \\u");
      append_utf8(out, code);
      i += digits;
    } else if (c != '\n') {  // an escaped newline is no character
      out += '\\';
      out += c;
    }
    return {};
  }

  std::string text_;
  std::size_t at_ = 0;
  int line_ = 1;
  bool at_line_start_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

Result<std::vector<Token>> lex_template(std::string_view source) { return Lexer(source).run(); }

}  // namespace vernier::chat
