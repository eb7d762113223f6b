// Text files as readers of text see them.
#pragma once

#include <string>
#include <string_view>

#include "vernier/status.h"

namespace vernier {

// `text` with every line end ("\r\n" and lone "\r" too) as "\n": what other tools score and calibrate on, so that
// figures compare.
std::string universal_newlines(std::string_view text);

Result<std::string> read_text(const std::string& path);  // the file's bytes with universal newlines

}  // namespace vernier
