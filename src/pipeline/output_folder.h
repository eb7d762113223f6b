// The output of a run while it is being written: shards under temporary names until complete, config.json last, so that
// nothing partial looks like a model.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "pipeline/plan.h"

namespace vernier {

class OutputFolder {
 public:
  // Opens (or reopens) the shards that are not complete yet.
  static Result<OutputFolder> open(const Plan& plan);
  static bool begun(const Plan& plan);  // every shard is there, complete or not

  Status write(const std::string& tensor, std::span<const std::byte> bytes);
  Status write_part(const std::string& tensor, std::int64_t offset_bytes, std::span<const std::byte> bytes);
  Status sync();  // all tensors written so far are durable

  // Completes every shard, copies the companion files, and writes recipe, index and config.json.
  Status finish(const Plan& plan);

 private:
  std::string folder_;
  std::vector<std::unique_ptr<SafetensorsWriter>> writers_;  // null: that shard is complete
  std::map<std::string, std::size_t> shard_of_;
};

}  // namespace vernier
