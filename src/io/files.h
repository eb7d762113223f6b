// Whole small files, and the one way anything durable is written: a temporary beside it, fsync, rename.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "vernier/status.h"

namespace vernier {

Result<std::string> read_text_file(const std::string& path, std::int64_t limit_bytes = 1 << 30);
Status write_file_atomic(const std::string& path, std::string_view content);
Status append_durable(const std::string& path, std::string_view line);  // appends, fsyncs
Status copy_file_atomic(const std::string& from, const std::string& to);
Status make_directories(const std::string& path);
Status sync_directory(const std::string& path);
bool is_directory(const std::string& path);
bool file_exists(const std::string& path);
std::vector<std::string> list_directory(const std::string& path);  // names, sorted; empty when unreadable

// The candidate with the smallest edit distance to `word`, or "" when none is near (for "did you mean").
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

// `text` as valid UTF-8: each invalid byte sequence becomes U+FFFD. Counts the replacements.
std::string sanitize_utf8(std::string_view text, std::int64_t* replaced = nullptr);

}  // namespace vernier
