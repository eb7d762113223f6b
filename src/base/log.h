// Messages to stderr. Tables and JSON go to stdout and never through here.
#pragma once

#include <fmt/format.h>

#include <string_view>

namespace vernier {

enum class LogLevel { debug, info, warn, error, off };

void set_log_level(LogLevel level);
void log_text(LogLevel level, std::string_view text);

template <class... Args>
void log_debug(fmt::format_string<Args...> format, Args&&... args) {
  log_text(LogLevel::debug, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void log_info(fmt::format_string<Args...> format, Args&&... args) {
  log_text(LogLevel::info, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void log_warn(fmt::format_string<Args...> format, Args&&... args) {
  log_text(LogLevel::warn, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace vernier
