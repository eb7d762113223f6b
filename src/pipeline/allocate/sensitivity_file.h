// What was measured, one JSON object a line in OUT.run/sensitivities.jsonl: first what the measurement depends on, then
// a line per tensor with all its candidates, durable before the next is measured. A torn end is cut off.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/json.h"
#include "pipeline/allocate/measure.h"

namespace vernier {

class SensitivityFile {
 public:
  // Continues the file where its identity is `identity`; none, or another, is empty until append().
  static Result<SensitivityFile> open(const std::string& path, Json identity, std::span<const AllocatedTensor> tensors);

  bool matches() const { return matches_; }  // false: no file, or of another identity
  bool complete() const;                     // every tensor with more than one candidate
  // By candidate; empty where nothing is known.
  const std::vector<Sensitivity>& at(std::size_t tensor) const { return known_[tensor]; }
  Status append(std::size_t tensor, std::vector<Sensitivity> found);
  std::string fingerprint() const;  // of the identity and every cost

 private:
  std::string path_;
  Json identity_;
  std::span<const AllocatedTensor> tensors_;
  std::vector<std::vector<Sensitivity>> known_;  // [tensors]
  bool matches_ = false;
};

}  // namespace vernier
