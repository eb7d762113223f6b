#include "io/text.h"

#include "io/files.h"

namespace vernier {

std::string universal_newlines(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\r') {
      out += text[i];
    } else if (i + 1 == text.size() || text[i + 1] != '\n') {
      out += '\n';
    }
  }
  return out;
}

Result<std::string> read_text(const std::string& path) {
  VN_ASSIGN(const std::string bytes, read_text_file(path));
  return universal_newlines(bytes);
}

}  // namespace vernier
