// One line of progress with an estimate of the time left, on a terminal redrawn in place, elsewhere every few seconds.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

namespace vernier {

class Progress {
 public:
  // `total` in units of work; `done` of them were finished by an earlier run and do not count towards the rate.
  Progress(std::string label, double total, double done = 0);
  ~Progress();  // ends the line
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void advance(double work, std::string_view detail = {});

  static void set_enabled(bool enabled);  // off under --quiet and in tests

 private:
  void draw(bool last);

  std::string label_, detail_;
  double total_, start_, done_;
  std::chrono::steady_clock::time_point begun_, drawn_{};
  bool terminal_;
};

}  // namespace vernier
