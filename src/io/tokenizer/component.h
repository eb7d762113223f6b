// Reading tokenizer.json: one component ({"type": ..., options}) with errors that name it.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/fail.h"
#include "vernier/status.h"

namespace vernier {

// Keys are looked up by tree, not in order of insertion: a vocabulary is one object of 100,000 keys and more.
using JsonTree = nlohmann::json;

// A JSON object and the place it stands at, such as "m/tokenizer.json: normalizer". The object outlives this.
class Component {
 public:
  Component(const JsonTree& json, std::string where) : json_(&json), where_(std::move(where)) {}

  const std::string& where() const { return where_; }
  const JsonTree& json() const { return *json_; }
  bool is_object() const { return json_->is_object(); }

  // Null where the key is absent or its value is null.
  const JsonTree* find(std::string_view key) const;

  Result<std::string> text(std::string_view key) const;
  Result<std::string> text(std::string_view key, std::string_view fallback) const;
  Result<bool> flag(std::string_view key, bool fallback) const;
  Result<std::int64_t> integer(std::string_view key) const;
  Result<std::string> type() const { return text("type"); }

  Error wrong(std::string_view key, std::string_view wanted) const;
  Error unsupported(std::string_view what) const;

 private:
  const JsonTree* json_;
  std::string where_;
};

// The components under `json`: none for null, else itself, with {"type": "Sequence", <list>: [...]} flattened.
Result<std::vector<Component>> flatten_sequence(const JsonTree& json, std::string_view list, const std::string& where);

}  // namespace vernier
