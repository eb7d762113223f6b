// Regular expressions of tokenizer.json, matched as Oniguruma (the library they were written for) matches them.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "io/tokenizer/component.h"
#include "vernier/status.h"

namespace vernier {

// A part of a text, [begin, end) in bytes.
struct Span {
  std::size_t begin = 0, end = 0;
  bool matched = false;
};

class Regex {
 public:
  // `where` goes into errors. Constructs that Oniguruma and PCRE2 read differently are translated or refused.
  static Result<Regex> compile(std::string_view pattern, std::string_view where);
  // A regex that matches `literal` itself; an empty literal matches nowhere.
  static Result<Regex> compile_literal(std::string_view literal, std::string_view where);
  // {"Regex": pattern} or {"String": literal}.
  static Result<Regex> from_json(const Component& owner, std::string_view key);

  ~Regex();
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;

  // `text` (valid UTF-8) cut into matches and what lies between them, in order, without empty spans. A match that
  // exceeds the work limit ends the search: the rest is one unmatched span.
  std::vector<Span> split(std::string_view text) const;
  std::string replace(std::string_view text, std::string_view content) const;

 private:
  struct Code;
  explicit Regex(std::unique_ptr<Code> code);
  std::unique_ptr<Code> code_;
};

}  // namespace vernier
