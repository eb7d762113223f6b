// What a grid may offer beside Grid: parameters that a run of a row's groups share and that values are linear in.
#pragma once

#include <cstdint>
#include <span>

namespace vernier {

class SharedParams {
 public:
  virtual ~SharedParams() = default;
  virtual std::int64_t shared_groups() const = 0;          // groups of a run
  virtual std::span<const int> shared_params() const = 0;  // their places among a group's parameters; at most two
  virtual float stored_shared(int param, float value) const = 0;  // the nearest value that can be stored
};

}  // namespace vernier
