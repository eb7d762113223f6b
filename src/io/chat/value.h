// Values of the template language, and the limits that keep a hostile template from using up time and memory.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/fail.h"
#include "vernier/status.h"

namespace vernier::chat {

// What one rendering may still use. Strings and lists are charged when they are made, so that memory is bounded too.
class Budget {
 public:
  bool spend_steps(std::int64_t n = 1) { return (steps_ -= n) >= 0; }
  bool spend_bytes(std::size_t n) { return (bytes_ -= static_cast<std::int64_t>(n)) >= 0; }

 private:
  std::int64_t steps_ = 1'000'000;
  std::int64_t bytes_ = 64 << 20;
};

enum class Function { range, make_namespace, raise_exception, strftime_now };

class Value;
using List = std::vector<Value>;
using Map = std::vector<std::pair<std::string, Value>>;  // in order of insertion

// Immutable but for namespaces; lists, maps and namespaces are shared.
class Value {
 public:
  struct Undefined {
    std::string name;  // of what was looked up, for errors
  };
  struct Namespace {
    Map attributes;
  };
  struct ListData {
    List items;
    int depth = 1;
  };
  struct MapData {
    Map items;
    int depth = 1;
  };

  Value() : data_(nullptr) {}  // none
  Value(Undefined undefined) : data_(std::move(undefined)) {}
  Value(bool value) : data_(value) {}
  Value(std::int64_t value) : data_(value) {}
  Value(double value) : data_(value) {}
  Value(std::string value) : data_(std::move(value)) {}
  Value(const char* value) : data_(std::string(value)) {}
  Value(Function function) : data_(function) {}
  // Refuses nesting deeper than 64 levels, and namespaces inside (they could form cycles).
  static Result<Value> list(List items, Budget& budget);
  static Result<Value> map(Map items, Budget& budget);
  static Value make_namespace(Map attributes);

  bool is_undefined() const { return std::holds_alternative<Undefined>(data_); }
  bool is_none() const { return std::holds_alternative<std::nullptr_t>(data_); }
  bool is_bool() const { return std::holds_alternative<bool>(data_); }
  bool is_integer() const { return std::holds_alternative<std::int64_t>(data_); }
  bool is_real() const { return std::holds_alternative<double>(data_); }
  bool is_number() const { return is_bool() || is_integer() || is_real(); }
  bool is_string() const { return std::holds_alternative<std::string>(data_); }
  bool is_list() const { return std::holds_alternative<std::shared_ptr<const ListData>>(data_); }
  bool is_map() const { return std::holds_alternative<std::shared_ptr<const MapData>>(data_); }
  bool is_namespace() const { return std::holds_alternative<std::shared_ptr<Namespace>>(data_); }

  // Each presumes its kind.
  const std::string& undefined_name() const { return std::get<Undefined>(data_).name; }
  const std::string& string() const { return std::get<std::string>(data_); }
  const List& items() const { return std::get<std::shared_ptr<const ListData>>(data_)->items; }
  const Map& entries() const { return std::get<std::shared_ptr<const MapData>>(data_)->items; }
  Map& attributes() const { return std::get<std::shared_ptr<Namespace>>(data_)->attributes; }

  std::optional<Function> function() const;
  std::optional<std::int64_t> integer() const;  // of an integer or a bool
  double real() const;                          // of any number

  bool truthy() const;
  std::string_view kind() const;  // for errors: "a string", "a list", ...
  int depth() const;

  // What {{ }} prints. Lists and maps are refused: nothing here needs Python's notation for them.
  Result<std::string> text() const;
  // As Python's json.dumps with ensure_ascii off; `indent` < 0 for one line.
  Result<std::string> json(int indent, Budget& budget) const;

 private:
  Status append_json(std::string& out, int indent, int level, Budget& budget) const;

  std::variant<std::nullptr_t, Undefined, bool, std::int64_t, double, std::string, std::shared_ptr<const ListData>,
               std::shared_ptr<const MapData>, std::shared_ptr<Namespace>, Function>
      data_;
};

const Value* find_key(const Map& map, std::string_view key);  // null where absent
Result<bool> equal(const Value& a, const Value& b, Budget& budget);
// a < b of two numbers or two strings.
Result<bool> less(const Value& a, const Value& b);

Error over_budget();

}  // namespace vernier::chat
