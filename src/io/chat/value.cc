#include "io/chat/value.h"

#include <algorithm>
#include <cmath>

namespace vernier::chat {
namespace {

constexpr int max_depth = 64;

template <class Items, class Of>
Result<int> checked_depth(const Items& items, const Of& value_of, Budget& budget) {
  if (!budget.spend_bytes(sizeof(Value) * (items.size() + 1))) return over_budget();
  int depth = 1;
  for (const auto& item : items) {
    const Value& value = value_of(item);
    if (value.is_namespace()) return fail(ErrorCode::unsupported, "a namespace inside a list, map or namespace");
    if (value.is_string() && !budget.spend_bytes(value.string().size())) return over_budget();
    depth = std::max(depth, value.depth() + 1);
  }
  if (depth > max_depth) return fail(ErrorCode::unsupported, "lists or maps nested deeper than {}", max_depth);
  return depth;
}

std::string real_text(double value) {
  std::string text = fmt::format("{}", value);
  if (text.find_first_not_of("-0123456789") == std::string::npos) text += ".0";
  return text;
}

void append_json_string(std::string& out, std::string_view text) {
  out += '"';
  for (const char c : text) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\b':
        out += "\\b";
        break;
      case '\f':
        out += "\\f";
        break;
      default:
        out += static_cast<unsigned char>(c) < 0x20 ? fmt::format("\\u{:04x}", c) : std::string(1, c);
    }
  }
  out += '"';
}

}  // namespace

Error over_budget() { return fail(ErrorCode::unsupported, "the template runs too long or makes too much text"); }

Result<Value> Value::list(List items, Budget& budget) {
  VN_ASSIGN(const int depth, checked_depth(
                                 items, [](const Value& v) -> const Value& { return v; }, budget));
  Value value;
  value.data_ = std::make_shared<const ListData>(ListData{std::move(items), depth});
  return value;
}

Result<Value> Value::map(Map items, Budget& budget) {
  VN_ASSIGN(const int depth, checked_depth(
                                 items, [](const auto& v) -> const Value& { return v.second; }, budget));
  Value value;
  value.data_ = std::make_shared<const MapData>(MapData{std::move(items), depth});
  return value;
}

Value Value::make_namespace(Map attributes) {
  Value value;
  value.data_ = std::make_shared<Namespace>(Namespace{std::move(attributes)});
  return value;
}

std::optional<Function> Value::function() const {
  const auto* function = std::get_if<Function>(&data_);
  return function ? std::optional(*function) : std::nullopt;
}

std::optional<std::int64_t> Value::integer() const {
  if (is_bool()) return std::get<bool>(data_) ? 1 : 0;
  if (is_integer()) return std::get<std::int64_t>(data_);
  return std::nullopt;
}

double Value::real() const { return is_real() ? std::get<double>(data_) : static_cast<double>(integer().value_or(0)); }

bool Value::truthy() const {
  if (is_number()) return real() != 0;
  if (is_string()) return !string().empty();
  if (is_list()) return !items().empty();
  if (is_map()) return !entries().empty();
  return !is_undefined() && !is_none();
}

std::string_view Value::kind() const {
  constexpr std::string_view kinds[] = {"none",     "undefined", "a boolean", "an integer",  "a number",
                                        "a string", "a list",    "a map",     "a namespace", "a function"};
  return kinds[data_.index()];
}

int Value::depth() const {
  if (is_list()) return std::get<std::shared_ptr<const ListData>>(data_)->depth;
  if (is_map()) return std::get<std::shared_ptr<const MapData>>(data_)->depth;
  return 0;
}

Result<std::string> Value::text() const {
  if (is_undefined()) return std::string();
  if (is_none()) return std::string("None");
  if (is_bool()) return std::string(truthy() ? "True" : "False");
  if (is_integer()) return std::to_string(*integer());
  if (is_real()) return real_text(real());
  if (is_string()) return string();
  return fail(ErrorCode::unsupported, "{} as text", kind());
}

Result<std::string> Value::json(int indent, Budget& budget) const {
  std::string out;
  VN_TRY(append_json(out, indent, 0, budget));
  return out;
}

Status Value::append_json(std::string& out, int indent, int level, Budget& budget) const {
  const std::size_t before = out.size();
  const auto new_line = [&](int depth) {
    if (indent < 0) return;
    out += '\n';
    out.append(static_cast<std::size_t>(indent) * depth, ' ');
  };
  const std::string_view comma = indent >= 0 ? "," : ", ";
  if (is_none()) {
    out += "null";
  } else if (is_bool()) {
    out += truthy() ? "true" : "false";
  } else if (is_integer() || is_real()) {
    VN_ASSIGN(const std::string number, text());
    out += number;
  } else if (is_string()) {
    append_json_string(out, string());
  } else if (is_list()) {
    out += '[';
    for (std::size_t i = 0; i < items().size(); ++i) {
      if (i > 0) out += comma;
      new_line(level + 1);
      VN_TRY(items()[i].append_json(out, indent, level + 1, budget));
    }
    if (!items().empty()) new_line(level);
    out += ']';
  } else if (is_map()) {
    out += '{';
    for (std::size_t i = 0; i < entries().size(); ++i) {
      if (i > 0) out += comma;
      new_line(level + 1);
      append_json_string(out, entries()[i].first);
      out += ": ";
      VN_TRY(entries()[i].second.append_json(out, indent, level + 1, budget));
    }
    if (!entries().empty()) new_line(level);
    out += '}';
  } else {
    return fail(ErrorCode::invalid, "{} as JSON", kind());
  }
  if (!budget.spend_bytes(out.size() - before)) return over_budget();
  return {};
}

const Value* find_key(const Map& map, std::string_view key) {
  for (const auto& [name, value] : map) {
    if (name == key) return &value;
  }
  return nullptr;
}

Result<bool> equal(const Value& a, const Value& b, Budget& budget) {
  if (!budget.spend_steps()) return over_budget();
  if (a.is_number() && b.is_number()) {
    if (a.integer() && b.integer()) return *a.integer() == *b.integer();
    return a.real() == b.real();
  }
  if (a.is_string() && b.is_string()) return a.string() == b.string();
  if (a.is_list() && b.is_list()) {
    if (a.items().size() != b.items().size()) return false;
    for (std::size_t i = 0; i < a.items().size(); ++i) {
      VN_ASSIGN(const bool same, equal(a.items()[i], b.items()[i], budget));
      if (!same) return false;
    }
    return true;
  }
  if (a.is_map() && b.is_map()) {
    if (a.entries().size() != b.entries().size()) return false;
    for (const auto& [key, value] : a.entries()) {
      const Value* other = find_key(b.entries(), key);
      if (!other) return false;
      VN_ASSIGN(const bool same, equal(value, *other, budget));
      if (!same) return false;
    }
    return true;
  }
  if (a.is_namespace() && b.is_namespace()) return &a.attributes() == &b.attributes();
  return (a.is_none() && b.is_none()) || (a.is_undefined() && b.is_undefined());
}

Result<bool> less(const Value& a, const Value& b) {
  if (a.is_string() && b.is_string()) return a.string() < b.string();
  if (!a.is_number() || !b.is_number()) {
    return fail(ErrorCode::invalid, "{} and {} cannot be ordered", a.kind(), b.kind());
  }
  if (a.integer() && b.integer()) return *a.integer() < *b.integer();
  return a.real() < b.real();
}

}  // namespace vernier::chat
