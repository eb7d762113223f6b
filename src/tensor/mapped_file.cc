#include "tensor/mapped_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fail.h"

namespace vernier {
namespace {

// The whole pages inside `part`; `outward` also takes the pages at its ends.
std::span<std::byte> pages(std::span<const std::byte> part, bool outward) {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  auto first = reinterpret_cast<std::uintptr_t>(part.data()), last = first + part.size();
  first = outward ? first / page * page : (first + page - 1) / page * page;
  last = outward ? (last + page - 1) / page * page : last / page * page;
  if (last <= first) return {};
  return {reinterpret_cast<std::byte*>(first), last - first};
}

}  // namespace

Result<std::shared_ptr<const MappedFile>> MappedFile::open(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return fail(errno == ENOENT ? ErrorCode::not_found : ErrorCode::io, "{}: cannot open: {}", path, ::strerror(errno));
  struct stat info {};
  if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    ::close(fd);
    return fail(ErrorCode::io, "{}: not a regular file", path);
  }
  std::shared_ptr<MappedFile> file(new MappedFile);
  file->path_ = path;
  if (info.st_size > 0) {
    void* memory = ::mmap(nullptr, info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (memory == MAP_FAILED) {
      const int reason = errno;
      ::close(fd);
      return fail(ErrorCode::io, "{}: cannot map {} bytes: {}", path, info.st_size, ::strerror(reason));
    }
    file->bytes_ = {static_cast<const std::byte*>(memory), static_cast<std::size_t>(info.st_size)};
  }
  ::close(fd);
  return std::shared_ptr<const MappedFile>(std::move(file));
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

void MappedFile::release(std::span<const std::byte> part) const {
  if (const auto whole = pages(part, false); !whole.empty()) ::madvise(whole.data(), whole.size(), MADV_DONTNEED);
}

void MappedFile::prefetch(std::span<const std::byte> part) const {
  if (part.empty()) return;
  const auto whole = pages(part, true);
  ::madvise(whole.data(), whole.size(), MADV_WILLNEED);
}

}  // namespace vernier
