// A byte trie over the texts of tokens, to find the longest one at a place.
#pragma once

#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace vernier {

class PieceTrie {
 public:
  // `value` >= 0; the last one added for a text stays. An empty text is ignored.
  void add(std::string_view text, std::int32_t value);
  // The value of the longest text that starts at `at`, its bytes in `length`; -1 when none does.
  std::int32_t longest(std::string_view text, std::size_t at, std::size_t& length) const;

 private:
  std::unordered_map<std::uint64_t, std::uint32_t> children_;  // key: node << 8 | byte; node 0 is the root
  std::vector<std::int32_t> values_ = {-1};                    // by node
};

}  // namespace vernier
