#include "base/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <memory>

namespace vernier {
namespace {

std::atomic<LogLevel> threshold{LogLevel::info};

spdlog::logger& logger() {
  static const std::shared_ptr<spdlog::logger> instance = [] {
    auto made = std::make_shared<spdlog::logger>("vernier", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
    made->set_pattern("%^%v%$");
    made->set_level(spdlog::level::trace);
    return made;
  }();
  return *instance;
}

}  // namespace

void set_log_level(LogLevel level) { threshold = level; }

void log_text(LogLevel level, std::string_view text) {
  if (level < threshold.load(std::memory_order_relaxed)) return;
  switch (level) {
    case LogLevel::debug:
      return logger().debug("{}", text);
    case LogLevel::info:
      return logger().info("{}", text);
    case LogLevel::warn:
      return logger().warn("warning: {}", text);
    default:
      return logger().error("{}", text);
  }
}

}  // namespace vernier
