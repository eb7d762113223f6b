// A recipe's YAML as a plain tree; yaml-cpp stays behind this file. The subset recipes need: one document of maps,
// lists and scalars. Anchors, aliases and tags are refused, so a document is never larger than its text.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "vernier/status.h"

namespace vernier {

struct RecipeNode {
  enum class Kind { null, scalar, list, map };
  Kind kind = Kind::null;
  std::string text;               // scalar
  bool quoted = false;            // scalar: quoted text is never a number or a boolean
  std::string where;              // "file.yaml:12", "--set group=64"
  std::vector<std::string> keys;  // map: unique, one for each child
  std::vector<RecipeNode> children;

  RecipeNode* find(std::string_view key);  // map: its child, or null
  RecipeNode& put(std::string key, RecipeNode child);
  std::string found() const;  // for messages: `"abc"`, "a list", "nothing"
};

// `where` names the source. With `lines`, nodes say "where:line", else just "where".
// Errors: not YAML, more than one document, more than 1 MiB of text, deeper than 32 levels, a key given twice.
Result<RecipeNode> parse_recipe_tree(std::string_view yaml, std::string_view where, bool lines = true);

}  // namespace vernier
