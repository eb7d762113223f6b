// A read-only mapping of a file whose pages can be given back: resident memory counts mapped pages too.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "vernier/status.h"

namespace vernier {

class MappedFile {
 public:
  static Result<std::shared_ptr<const MappedFile>> open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  std::span<const std::byte> bytes() const { return bytes_; }

  // Drops the pages that lie wholly inside `part` (a sub-span of bytes()) from this process; they stay in the page
  // cache and fault back in when touched again.
  void release(std::span<const std::byte> part) const;
  void release_all() const { release(bytes_); }
  // Asks the kernel to read `part` ahead.
  void prefetch(std::span<const std::byte> part) const;

 private:
  MappedFile() = default;
  std::string path_;
  std::span<const std::byte> bytes_;
};

}  // namespace vernier
