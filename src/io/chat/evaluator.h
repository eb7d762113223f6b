// Runs a parsed template.
#pragma once

#include <ctime>
#include <map>
#include <string>

#include "io/chat/syntax.h"
#include "io/chat/value.h"
#include "vernier/status.h"

namespace vernier::chat {

// The text of `block` with `variables` as globals. `now` is what strftime_now() tells. Errors give the line.
Result<std::string> render(const Block& block, const std::map<std::string, Value>& variables, std::time_t now,
                           Budget& budget);

}  // namespace vernier::chat
