// What a run has done, so that the same command continues it. One JSON object a line in OUT.run/journal.jsonl: first
// the identity of the run, then a line per finished step. Each line is durable before the next step starts; a torn last
// line is ignored.
#pragma once

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "vernier/status.h"

namespace vernier {

class Journal {
 public:
  // What must be the same for a run to be continued: ("source", fingerprint), ("recipe", yaml), ...
  using Identity = std::vector<std::pair<std::string, std::string>>;

  // Continues the journal at `path`, or starts one. mismatch names the first part of the identity that differs.
  static Result<Journal> open(const std::string& path, const Identity& identity);

  bool resumed() const { return resumed_; }
  bool done(const std::string& step) const { return done_.count(step) > 0; }
  std::size_t steps_done() const { return done_.size(); }
  Status finish(const std::string& step);

 private:
  std::string path_;
  std::set<std::string> done_;
  bool resumed_ = false;
};

}  // namespace vernier
