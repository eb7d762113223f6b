// JSON with insertion order kept, parsed without exceptions and with bounded depth.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "vernier/status.h"

namespace vernier {

using Json = nlohmann::ordered_json;

// Parses `text`; `where` (a file, a command-line flag) goes into the error. Rejects nesting deeper than 128 levels,
// duplicate keys in one object, and anything after the document.
Result<Json> parse_json(std::string_view text, std::string_view where);

// Appends a member whose key the caller knows to be new, in constant time: operator[] searches the object.
Json& append_member(Json& object, std::string key, Json value);

// Text for files and for --json output: UTF-8, invalid bytes replaced, `indent` < 0 for one line.
std::string dump_json(const Json& json, int indent = 2);

}  // namespace vernier
