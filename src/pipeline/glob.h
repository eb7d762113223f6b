#pragma once

#include <string_view>

namespace vernier {

// Whether the whole of `name` fits `pattern`: '*' stands for any characters (dots too, none too), '?' for exactly one.
// Linear in name x pattern at worst, whatever the pattern.
bool match_glob(std::string_view pattern, std::string_view name);

}  // namespace vernier
