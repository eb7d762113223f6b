#include "io/chat/builtins.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <map>

#include "io/tokenizer/utf8.h"

namespace vernier::chat {

const Value* Arguments::get(std::size_t position, std::string_view name) const {
  return position < positional.size() ? &positional[position] : find_key(named, name);
}

namespace {

enum class Case { upper, lower, title };

// Letter by letter; the first letter of a run of letters is the capital of a title.
std::string with_case(const std::string& text, Case to) {
  std::string out;
  bool in_word = false;
  for (std::size_t at = 0; at < text.size(); at += utf8_length(text[at])) {
    const auto c = static_cast<utf8proc_int32_t>(code_point(utf8_character(text, at)));
    const bool up = to == Case::upper || (to == Case::title && !in_word);
    append_utf8(out, static_cast<char32_t>(up ? utf8proc_toupper(c) : utf8proc_tolower(c)));
    in_word = utf8proc_category(c) >= UTF8PROC_CATEGORY_LU && utf8proc_category(c) <= UTF8PROC_CATEGORY_LO;
  }
  return out;
}

// Strips white space, or the characters of `set`, from either side.
std::string stripped(std::string_view text, const std::string* set, bool left, bool right) {
  const auto in_set = [&](std::string_view character) { return set->find(character) != std::string::npos; };
  if (!set) {
    if (right) text = text.substr(0, without_trailing_space_bytes(text));
    if (left) text.remove_prefix(leading_space_bytes(text));
    return std::string(text);
  }
  while (left && !text.empty() && in_set(utf8_character(text, 0))) text.remove_prefix(utf8_length(text[0]));
  while (right && !text.empty()) {
    std::size_t start = text.size() - 1;
    while (start > 0 && (static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) --start;
    if (!in_set(text.substr(start))) break;
    text = text.substr(0, start);
  }
  return std::string(text);
}

Result<std::string> string_argument(const Arguments& arguments, std::size_t position, std::string_view name) {
  const Value* value = arguments.get(position, name);
  if (!value || !value->is_string()) return fail(ErrorCode::invalid, "argument {} should be a string", name);
  return value->string();
}

Result<Value> items_of(const Value& map, Budget& budget) {
  if (map.is_undefined()) return Value::list({}, budget);
  if (!map.is_map()) return fail(ErrorCode::invalid, "items of {}", map.kind());
  List out;
  for (const auto& [key, value] : map.entries()) {
    VN_ASSIGN(Value pair, Value::list({Value(key), value}, budget));
    out.push_back(std::move(pair));
  }
  return Value::list(std::move(out), budget);
}

Result<Value> replaced(const std::string& text, const Arguments& arguments, Budget& budget) {
  VN_ASSIGN(const std::string from, string_argument(arguments, 0, "old"));
  VN_ASSIGN(const std::string to, string_argument(arguments, 1, "new"));
  if (arguments.positional.size() > 2) return fail(ErrorCode::unsupported, "replace with a count is not supported");
  if (from.empty()) return fail(ErrorCode::unsupported, "replace of an empty string is not supported");
  // Bounded before it is made.
  if (!budget.spend_bytes(text.size() / from.size() * to.size())) return over_budget();
  return make_string(replace_all(text, from, to), budget);
}

Result<Value> split(const std::string& text, const Arguments& arguments, Budget& budget) {
  const Value* separator = arguments.get(0, "sep");
  const Value* limit = arguments.get(1, "maxsplit");
  if (limit && !limit->integer()) return fail(ErrorCode::invalid, "argument maxsplit should be an integer");
  std::int64_t left = limit ? *limit->integer() : -1;  // negative: no limit
  List out;
  std::string_view rest = text;
  if (!budget.spend_steps(static_cast<std::int64_t>(text.size() / 16))) return over_budget();
  if (!separator || separator->is_none()) {
    while (rest.remove_prefix(leading_space_bytes(rest)), !rest.empty()) {
      std::size_t end = 0;
      while (end < rest.size() && !is_space(code_point(utf8_character(rest, end)))) end += utf8_length(rest[end]);
      if (left-- == 0) end = rest.size();
      out.emplace_back(std::string(rest.substr(0, end)));
      rest.remove_prefix(end);
    }
  } else {
    VN_ASSIGN(const std::string by, string_argument(arguments, 0, "sep"));
    if (by.empty()) return fail(ErrorCode::invalid, "split by an empty string");
    for (std::size_t at; left-- != 0 && (at = rest.find(by)) != std::string_view::npos;) {
      out.emplace_back(std::string(rest.substr(0, at)));
      rest.remove_prefix(at + by.size());
    }
    out.emplace_back(std::string(rest));
  }
  return Value::list(std::move(out), budget);
}

// --- filters

Result<Value> joined(const Value& input, const Arguments& arguments, Budget& budget) {
  if (arguments.get(1, "attribute")) return fail(ErrorCode::unsupported, "join with an attribute is not supported");
  VN_ASSIGN(const List items, iterate(input, budget));
  const Value* separator = arguments.get(0, "d");
  std::string between;
  if (separator) {
    VN_ASSIGN(between, separator->text());
  }
  std::string out;
  for (std::size_t i = 0; i < items.size(); ++i) {
    VN_ASSIGN(const std::string text, items[i].text());
    if (!budget.spend_bytes(text.size() + between.size())) return over_budget();
    if (i > 0) out += between;
    out += text;
  }
  return Value(std::move(out));
}

Result<Value> length(const Value& input) {
  if (input.is_map()) return Value(static_cast<std::int64_t>(input.entries().size()));
  if (input.is_list()) return Value(static_cast<std::int64_t>(input.items().size()));
  if (input.is_undefined()) return Value(std::int64_t{0});
  if (!input.is_string()) return fail(ErrorCode::invalid, "the length of {}", input.kind());
  const auto starts_character = [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; };
  return Value(
      static_cast<std::int64_t>(std::count_if(input.string().begin(), input.string().end(), starts_character)));
}

Result<Value> to_integer(const Value& input, const Arguments& arguments) {
  const Value* fallback = arguments.get(0, "default");
  const Value otherwise = fallback ? *fallback : Value(std::int64_t{0});
  if (input.integer()) return Value(*input.integer());
  if (input.is_real()) {
    if (!(input.real() > -9e18 && input.real() < 9e18)) return otherwise;
    return Value(static_cast<std::int64_t>(input.real()));
  }
  if (!input.is_string()) return otherwise;
  const std::string text = stripped(input.string(), nullptr, true, true);
  char* end = nullptr;
  errno = 0;
  const long long value = std::strtoll(text.c_str(), &end, 10);
  if (text.empty() || *end != '\0' || errno != 0) return otherwise;
  return Value(static_cast<std::int64_t>(value));
}

Result<Value> attribute_of(const Value& item, const std::string& path, Budget& budget) {
  Value value = item;
  for (std::size_t from = 0; from <= path.size();) {
    const std::size_t dot = std::min(path.find('.', from), path.size());
    VN_ASSIGN(value, subscript(value, Value(path.substr(from, dot - from)), budget));
    from = dot + 1;
  }
  return value;
}

// select, reject, selectattr, rejectattr: the items for which a test of the item, or of its attribute, holds.
Result<Value> chosen(const Value& input, const Arguments& arguments, bool by_attribute, bool wanted, Budget& budget) {
  std::string attribute;
  if (by_attribute) {
    VN_ASSIGN(attribute, string_argument(arguments, 0, "attribute"));
  }
  const std::size_t test_at = by_attribute ? 1 : 0;
  const bool has_test = arguments.positional.size() > test_at;
  std::string test;
  std::vector<Value> rest;
  if (has_test) {
    VN_ASSIGN(test, string_argument(arguments, test_at, "test"));
    rest.assign(arguments.positional.begin() + static_cast<std::ptrdiff_t>(test_at) + 1, arguments.positional.end());
  }
  VN_ASSIGN(const List items, iterate(input, budget));
  List out;
  for (const Value& item : items) {
    Value subject = item;
    if (by_attribute) {
      VN_ASSIGN(subject, attribute_of(item, attribute, budget));
    }
    bool holds = subject.truthy();
    if (has_test) {
      VN_ASSIGN(holds, apply_test(test, subject, rest, budget));
    }
    if (holds == wanted) out.push_back(item);
  }
  return Value::list(std::move(out), budget);
}

Result<Value> mapped(const Value& input, const Arguments& arguments, Budget& budget) {
  const Value* attribute = find_key(arguments.named, "attribute");
  const Value* fallback = find_key(arguments.named, "default");
  if (!attribute || !attribute->is_string() || !arguments.positional.empty()) {
    return fail(ErrorCode::unsupported, "map without attribute=\"...\" is not supported");
  }
  VN_ASSIGN(const List items, iterate(input, budget));
  List out;
  for (const Value& item : items) {
    VN_ASSIGN(Value value, attribute_of(item, attribute->string(), budget));
    out.push_back(value.is_undefined() && fallback ? *fallback : std::move(value));
  }
  return Value::list(std::move(out), budget);
}

Result<Value> to_json(const Value& input, const Arguments& arguments, Budget& budget) {
  const Value* indent = arguments.get(0, "indent");
  for (const auto& [name, value] : arguments.named) {
    if (name != "indent" && !(name == "ensure_ascii" && !value.truthy())) {
      return fail(ErrorCode::unsupported, "tojson with {} is not supported", name);
    }
  }
  const std::int64_t spaces = indent ? indent->integer().value_or(-1) : -1;
  if (spaces > 16) return fail(ErrorCode::unsupported, "tojson with an indent of {}", spaces);
  VN_ASSIGN(std::string text, input.json(static_cast<int>(spaces), budget));
  return Value(std::move(text));
}

Result<Value> with_default(const Value& input, const Arguments& arguments) {
  const Value* fallback = arguments.get(0, "default_value");
  const Value* also_false = arguments.get(1, "boolean");
  const bool use = input.is_undefined() || (also_false && also_false->truthy() && !input.truthy());
  if (!use) return input;
  return fallback ? *fallback : Value("");
}

Result<Value> end_of(const Value& input, bool first, Budget& budget) {
  VN_ASSIGN(const List items, iterate(input, budget));
  if (items.empty()) return Value(Value::Undefined{first ? "the first of nothing" : "the last of nothing"});
  return first ? items.front() : items.back();
}

// Filters of text take the text of any value.
Result<Value> text_filter(std::string_view name, const Value& input, const Arguments& arguments, Budget& budget) {
  VN_ASSIGN(std::string text, input.text());
  if (name == "upper") return make_string(with_case(text, Case::upper), budget);
  if (name == "lower") return make_string(with_case(text, Case::lower), budget);
  if (name == "title") return make_string(with_case(text, Case::title), budget);
  if (name == "replace") return replaced(text, arguments, budget);
  if (name == "trim") {
    const Value* set = arguments.get(0, "chars");
    return make_string(stripped(text, set && set->is_string() ? &set->string() : nullptr, true, true), budget);
  }
  return make_string(std::move(text), budget);  // string
}

bool is_text_filter(std::string_view name) {
  return name == "trim" || name == "upper" || name == "lower" || name == "title" || name == "replace" ||
         name == "string";
}

}  // namespace

Result<Value> apply_filter(std::string_view name, const Value& input, const Arguments& arguments, Budget& budget) {
  if (is_text_filter(name)) return text_filter(name, input, arguments, budget);
  if (name == "length" || name == "count") return length(input);
  if (name == "default" || name == "d") return with_default(input, arguments);
  if (name == "join") return joined(input, arguments, budget);
  if (name == "tojson") return to_json(input, arguments, budget);
  if (name == "int") return to_integer(input, arguments);
  if (name == "items") return items_of(input, budget);
  if (name == "map") return mapped(input, arguments, budget);
  if (name == "select") return chosen(input, arguments, false, true, budget);
  if (name == "reject") return chosen(input, arguments, false, false, budget);
  if (name == "selectattr") return chosen(input, arguments, true, true, budget);
  if (name == "rejectattr") return chosen(input, arguments, true, false, budget);
  if (name == "first") return end_of(input, true, budget);
  if (name == "last") return end_of(input, false, budget);
  if (name == "list") {
    VN_ASSIGN(List items, iterate(input, budget));
    return Value::list(std::move(items), budget);
  }
  return fail(ErrorCode::unsupported, "filter \"{}\" is not supported", name);
}

Result<bool> apply_test(std::string_view name, const Value& input, const std::vector<Value>& arguments,
                        Budget& budget) {
  const bool compares = name == "equalto" || name == "eq" || name == "ne" || name == "in";
  if (arguments.size() != (compares ? 1u : 0u)) {
    return fail(ErrorCode::invalid, "test \"{}\" with {} arguments", name, arguments.size());
  }
  if (name == "in") {
    VN_ASSIGN(const Value found, apply_operator("in", input, arguments[0], budget));
    return found.truthy();
  }
  if (compares) {
    VN_ASSIGN(const bool same, equal(input, arguments[0], budget));
    return same == (name != "ne");
  }
  if (name == "defined") return !input.is_undefined();
  if (name == "undefined") return input.is_undefined();
  if (name == "none") return input.is_none();
  if (name == "string") return input.is_string();
  if (name == "mapping") return input.is_map();
  if (name == "number") return input.is_number();
  if (name == "integer") return input.is_integer();
  if (name == "float") return input.is_real();
  if (name == "boolean") return input.is_bool();
  if (name == "true") return input.is_bool() && input.truthy();
  if (name == "false") return input.is_bool() && !input.truthy();
  if (name == "sequence" || name == "iterable") {
    return input.is_list() || input.is_map() || input.is_string() || input.is_undefined();
  }
  return fail(ErrorCode::unsupported, "test \"{}\" is not supported", name);
}

Result<Value> call_method(std::string_view name, const Value& self, const Arguments& arguments, Budget& budget) {
  if (self.is_undefined()) return fail(ErrorCode::invalid, "'{}' is undefined", self.undefined_name());
  if (self.is_map()) {
    if (name == "items") return items_of(self, budget);
    if (name == "keys") return apply_filter("list", self, {}, budget);
    if (name == "get") {
      VN_ASSIGN(const std::string key, string_argument(arguments, 0, "key"));
      if (const Value* found = find_key(self.entries(), key)) return *found;
      const Value* fallback = arguments.get(1, "default");
      return fallback ? *fallback : Value();
    }
  }
  if (self.is_string()) {
    if (name == "strip" || name == "lstrip" || name == "rstrip") {
      const Value* set = arguments.get(0, "chars");
      if (set && !set->is_string() && !set->is_none()) return fail(ErrorCode::invalid, "{} of {}", name, set->kind());
      return make_string(stripped(self.string(), set && set->is_string() ? &set->string() : nullptr, name != "rstrip",
                                  name != "lstrip"),
                         budget);
    }
    if (name == "startswith" || name == "endswith") {
      VN_ASSIGN(const std::string affix, string_argument(arguments, 0, "prefix"));
      return Value(name == "startswith" ? self.string().starts_with(affix) : self.string().ends_with(affix));
    }
    if (name == "split") return split(self.string(), arguments, budget);
    if (name == "upper" || name == "lower" || name == "title" || name == "replace") {
      return text_filter(name, self, arguments, budget);
    }
  }
  return fail(ErrorCode::unsupported, "method \"{}\" of {} is not supported", name, self.kind());
}

}  // namespace vernier::chat
