#include "base/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>

namespace vernier {
namespace {

std::atomic<bool> enabled{true};

std::string clock_text(double seconds) {
  const long s = static_cast<long>(std::max(0.0, seconds) + 0.5);
  return s < 3600 ? fmt::format("{}:{:02}", s / 60, s % 60)
                  : fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
}

}  // namespace

Progress::Progress(std::string label, double total, double done)
    : label_(std::move(label)),
      total_(std::max(total, 1e-9)),
      start_(done),
      done_(done),
      begun_(std::chrono::steady_clock::now()),
      terminal_(::isatty(STDERR_FILENO)) {}

Progress::~Progress() {
  if (enabled && drawn_.time_since_epoch().count() != 0) draw(true);
}

void Progress::set_enabled(bool on) { enabled = on; }

void Progress::advance(double work, std::string_view detail) {
  done_ += work;
  if (!detail.empty()) detail_ = detail;
  if (!enabled) return;
  const auto now = std::chrono::steady_clock::now();
  const auto interval = terminal_ ? std::chrono::milliseconds(200) : std::chrono::milliseconds(10000);
  const auto last = drawn_.time_since_epoch().count() == 0 ? begun_ : drawn_;
  if (now - last < interval) return;
  drawn_ = now;
  draw(false);
}

void Progress::draw(bool last) {
  const double elapsed = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun_).count();
  const double share = std::clamp(done_ / total_, 0.0, 1.0);
  const double rate = (done_ - start_) / std::max(elapsed, 1e-9);
  std::string line = fmt::format("{} {:3.0f}%  {}", label_, 100 * share, clock_text(elapsed));
  if (!last && rate > 0) line += fmt::format(", {} left", clock_text((total_ - done_) / rate));
  if (!detail_.empty()) line += "  " + detail_;
  if (terminal_) {
    fmt::print(stderr, "\r{:<100.100}{}", line, last ? "\n" : "");
  } else {
    fmt::print(stderr, "{}\n", line);
  }
  std::fflush(stderr);
}

}  // namespace vernier
