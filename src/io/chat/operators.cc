#include <algorithm>
#include <cmath>

#include "io/chat/builtins.h"
#include "io/tokenizer/utf8.h"

namespace vernier::chat {
namespace {

Error wrong_operands(std::string_view name, const Value& left, const Value& right) {
  return fail(ErrorCode::invalid, "{} {} {} has no meaning", left.kind(), name, right.kind());
}

std::vector<std::string> characters(const std::string& text) {
  std::vector<std::string> out;
  for (std::size_t at = 0; at < text.size(); at += utf8_length(text[at])) {
    out.emplace_back(utf8_character(text, at));
  }
  return out;
}

Result<Value> integer_arithmetic(std::string_view name, std::int64_t a, std::int64_t b) {
  std::int64_t out = 0;
  bool overflow = false;
  if (name == "+") {
    overflow = __builtin_add_overflow(a, b, &out);
  } else if (name == "-") {
    overflow = __builtin_sub_overflow(a, b, &out);
  } else if (name == "*") {
    overflow = __builtin_mul_overflow(a, b, &out);
  } else if (b == 0) {
    return fail(ErrorCode::invalid, "division by zero");
  } else if (b == -1) {  // the smallest integer has no counterpart
    overflow = name == "//" && __builtin_sub_overflow(std::int64_t{0}, a, &out);
  } else {  // rounds to minus infinity, and the remainder has the sign of b
    const bool down = a % b != 0 && (a < 0) != (b < 0);
    out = name == "//" ? a / b - down : a % b + (down ? b : 0);
  }
  if (overflow) return fail(ErrorCode::invalid, "{} {} {} overflows", a, name, b);
  return Value(out);
}

Result<Value> arithmetic(std::string_view name, const Value& left, const Value& right) {
  if (name != "/" && left.integer() && right.integer()) {
    return integer_arithmetic(name, *left.integer(), *right.integer());
  }
  const double a = left.real(), b = right.real();
  if (name == "+") return Value(a + b);
  if (name == "-") return Value(a - b);
  if (name == "*") return Value(a * b);
  if (b == 0) return fail(ErrorCode::invalid, "division by zero");
  if (name == "/") return Value(a / b);
  if (name == "//") return Value(std::floor(a / b));
  return Value(a - b * std::floor(a / b));
}

Result<bool> contains(const Value& in, const Value& what, Budget& budget) {
  if (in.is_string()) {
    if (!what.is_string()) return fail(ErrorCode::invalid, "{} in a string has no meaning", what.kind());
    return in.string().find(what.string()) != std::string::npos;
  }
  if (in.is_map()) return what.is_string() && find_key(in.entries(), what.string()) != nullptr;
  if (in.is_undefined()) return false;
  if (!in.is_list()) return fail(ErrorCode::invalid, "in {} has no meaning", in.kind());
  for (const Value& item : in.items()) {
    VN_ASSIGN(const bool same, equal(item, what, budget));
    if (same) return true;
  }
  return false;
}

Result<Value> compare(std::string_view name, const Value& left, const Value& right, Budget& budget) {
  if (name == "==" || name == "!=") {
    VN_ASSIGN(const bool same, equal(left, right, budget));
    return Value(same == (name == "=="));
  }
  const bool swapped = name == ">" || name == "<=";  // a <= b is not (b < a)
  VN_ASSIGN(const bool below, swapped ? less(right, left) : less(left, right));
  return Value(name == "<" || name == ">" ? below : !below);
}

Result<std::optional<std::int64_t>> bound(const Value& value) {
  if (value.is_none()) return std::optional<std::int64_t>();
  if (!value.integer()) return fail(ErrorCode::invalid, "{} as a bound of a slice", value.kind());
  return value.integer();
}

}  // namespace

Result<Value> make_string(std::string text, Budget& budget) {
  if (!budget.spend_bytes(text.size())) return over_budget();
  return Value(std::move(text));
}

Result<Value> apply_operator(std::string_view name, const Value& left, const Value& right, Budget& budget) {
  if (name == "in" || name == "not in") {
    VN_ASSIGN(const bool found, contains(right, left, budget));
    return Value(found == (name == "in"));
  }
  if (name == "==" || name == "!=" || name == "<" || name == "<=" || name == ">" || name == ">=") {
    return compare(name, left, right, budget);
  }
  if (name == "~") {
    VN_ASSIGN(std::string text, left.text());
    VN_ASSIGN(const std::string tail, right.text());
    return make_string(std::move(text) + tail, budget);
  }
  if (left.is_number() && right.is_number()) return arithmetic(name, left, right);
  if (name == "+" && left.is_string() && right.is_string()) return make_string(left.string() + right.string(), budget);
  if (name == "+" && left.is_list() && right.is_list()) {
    List all = left.items();
    all.insert(all.end(), right.items().begin(), right.items().end());
    return Value::list(std::move(all), budget);
  }
  for (const Value* side : {&left, &right}) {
    if (side->is_undefined()) return fail(ErrorCode::invalid, "'{}' is undefined", side->undefined_name());
  }
  return wrong_operands(name, left, right);
}

Result<Value> subscript(const Value& of, const Value& key, Budget& budget) {
  if (of.is_undefined()) return fail(ErrorCode::invalid, "'{}' is undefined", of.undefined_name());
  if (key.is_string()) {
    const Value* found = nullptr;
    if (of.is_map()) found = find_key(of.entries(), key.string());
    if (of.is_namespace()) found = find_key(of.attributes(), key.string());
    return found ? *found : Value(Value::Undefined{key.string()});
  }
  if ((of.is_list() || of.is_string()) && key.integer()) {
    VN_ASSIGN(const List items, iterate(of, budget));
    std::int64_t index = *key.integer();
    if (index < 0) index += static_cast<std::int64_t>(items.size());
    if (index < 0 || index >= static_cast<std::int64_t>(items.size())) {
      return Value(Value::Undefined{fmt::format("item {}", *key.integer())});
    }
    return items[static_cast<std::size_t>(index)];
  }
  return fail(ErrorCode::invalid, "{} indexed by {}", of.kind(), key.kind());
}

Result<Value> slice(const Value& of, const Value& start, const Value& stop, const Value& step, Budget& budget) {
  if (!of.is_list() && !of.is_string()) return fail(ErrorCode::invalid, "a slice of {}", of.kind());
  VN_ASSIGN(const List items, iterate(of, budget));
  VN_ASSIGN(const auto first, bound(start));
  VN_ASSIGN(const auto last, bound(stop));
  VN_ASSIGN(const auto stride, bound(step));
  const auto size = static_cast<std::int64_t>(items.size());
  // A stride longer than the list is as good as one of its length.
  const std::int64_t by = std::clamp<std::int64_t>(stride.value_or(1), -size - 1, size + 1);
  if (by == 0) return fail(ErrorCode::invalid, "a slice with step 0");
  const std::int64_t lowest = by > 0 ? 0 : -1, highest = by > 0 ? size : size - 1;
  const auto place = [&](std::int64_t at) { return std::clamp(at < 0 ? at + size : at, lowest, highest); };
  const std::int64_t begin = first ? place(*first) : by > 0 ? lowest : highest;
  const std::int64_t end = last ? place(*last) : by > 0 ? highest : lowest;

  List out;
  for (std::int64_t at = begin; by > 0 ? at < end : at > end; at += by) {
    out.push_back(items[static_cast<std::size_t>(at)]);
  }
  if (of.is_list()) return Value::list(std::move(out), budget);
  std::string text;
  for (const Value& character : out) text += character.string();
  return make_string(std::move(text), budget);
}

Result<List> iterate(const Value& value, Budget& budget) {
  List out;
  if (value.is_list()) {
    out = value.items();
  } else if (value.is_map()) {
    for (const auto& [key, item] : value.entries()) out.emplace_back(key);
  } else if (value.is_string()) {
    // Bounded before it is made: each character becomes a value.
    if (!budget.spend_bytes(value.string().size() * sizeof(Value))) return over_budget();
    for (std::string& character : characters(value.string())) out.emplace_back(std::move(character));
  } else if (!value.is_undefined()) {
    return fail(ErrorCode::invalid, "{} cannot be looped over", value.kind());
  }
  if (!budget.spend_steps(static_cast<std::int64_t>(out.size()))) return over_budget();
  return out;
}

}  // namespace vernier::chat
