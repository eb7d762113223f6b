// vernier_learn, opened on first use, so that nothing else ever loads libtorch.
#pragma once

#include <memory>
#include <string>

#include "runtime/executor.h"

namespace vernier {

// What the shared library hands over. Both sides are built from the same sources: `version` must match exactly.
struct LearnPlugin {
  const char* version;
  // "cpu", "cuda", "cuda:1"; sets `problem` and returns null when that device is not there.
  std::unique_ptr<Executor> (*make_executor)(const std::string& device, std::string& problem);
  // libtorch's version and devices, one line.
  std::string (*describe)();
};

// not_found when the library or libtorch is missing: the message says which file and what to do.
Result<const LearnPlugin*> open_learn_plugin();

// The executor for --device: "cpu" is the core one, everything else comes from vernier_learn.
Result<std::unique_ptr<Executor>> make_device_executor(const std::string& device);

}  // namespace vernier
