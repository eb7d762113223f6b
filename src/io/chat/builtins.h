// Filters, tests, methods and operators of the template language.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "io/chat/value.h"
#include "vernier/status.h"

namespace vernier::chat {

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;

  // The argument at a position or of a name; null where it was not given.
  const Value* get(std::size_t position, std::string_view name) const;
};

// Each refuses names it does not know, by name.
Result<Value> apply_filter(std::string_view name, const Value& input, const Arguments& arguments, Budget& budget);
Result<bool> apply_test(std::string_view name, const Value& input, const std::vector<Value>& arguments, Budget& budget);
Result<Value> call_method(std::string_view name, const Value& self, const Arguments& arguments, Budget& budget);
Result<Value> apply_operator(std::string_view name, const Value& left, const Value& right, Budget& budget);

// x.key and x[key]; what is absent is undefined, and so is an index outside a list.
Result<Value> subscript(const Value& of, const Value& key, Budget& budget);
// x[start:stop:step]; bounds may be none. Strings are cut by characters.
Result<Value> slice(const Value& of, const Value& start, const Value& stop, const Value& step, Budget& budget);

// What a loop runs over: items of a list, keys of a map, characters of a string, nothing of undefined.
Result<List> iterate(const Value& value, Budget& budget);
Result<Value> make_string(std::string text, Budget& budget);

}  // namespace vernier::chat
