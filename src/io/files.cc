#include "io/files.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "base/fail.h"

namespace vernier {
namespace {

namespace fs = std::filesystem;

std::string parent_of(const std::string& path) {
  const std::string parent = fs::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

Error write_failure(const std::string& path) {
  const int reason = errno;
  Error error = fail(ErrorCode::io, "{}: cannot write: {}", path, ::strerror(reason));
  if (reason == ENOSPC) error.hint = "the disk is full; free space and run the same command again";
  if (reason == EACCES || reason == EROFS) error.hint = "choose a writable output folder with -o";
  return error;
}

Status write_all(int fd, const std::string& path, std::string_view content) {
  while (!content.empty()) {
    const ssize_t n = ::write(fd, content.data(), content.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return write_failure(path);
    content.remove_prefix(static_cast<std::size_t>(n));
  }
  return {};
}

}  // namespace

Result<std::string> read_text_file(const std::string& path, std::int64_t limit_bytes) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return fail(errno == ENOENT ? ErrorCode::not_found : ErrorCode::io, "{}: cannot open: {}", path, ::strerror(errno));
  }
  struct stat info {};
  Status problem;
  if (::fstat(fd, &info) != 0 || S_ISDIR(info.st_mode)) problem = fail(ErrorCode::io, "{}: not a file", path);
  if (problem.ok() && info.st_size > limit_bytes) {
    problem = fail(ErrorCode::invalid, "{}: {} bytes, at most {} are read", path, info.st_size, limit_bytes);
  }
  std::string text;
  while (problem.ok()) {
    char buffer[1 << 16];
    const ssize_t n = ::read(fd, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) problem = fail(ErrorCode::io, "{}: cannot read: {}", path, ::strerror(errno));
    if (n <= 0) break;
    text.append(buffer, static_cast<std::size_t>(n));
    if (static_cast<std::int64_t>(text.size()) > limit_bytes) {
      problem = fail(ErrorCode::invalid, "{}: more than {} bytes", path, limit_bytes);
    }
  }
  ::close(fd);
  VN_TRY(std::move(problem));
  return text;
}

Status write_file_atomic(const std::string& path, std::string_view content) {
  const std::string part = path + ".part";
  const int fd = ::open(part.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return write_failure(part);
  Status status = write_all(fd, part, content);
  if (status.ok() && ::fsync(fd) != 0) status = write_failure(part);
  ::close(fd);
  if (status.ok() && ::rename(part.c_str(), path.c_str()) != 0) status = write_failure(path);
  if (!status.ok()) {
    ::unlink(part.c_str());
    return status;
  }
  return sync_directory(parent_of(path));
}

Status append_durable(const std::string& path, std::string_view line) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (fd < 0) return write_failure(path);
  Status status = write_all(fd, path, line);
  if (status.ok() && ::fsync(fd) != 0) status = write_failure(path);
  ::close(fd);
  return status;
}

Status copy_file_atomic(const std::string& from, const std::string& to) {
  const int in = ::open(from.c_str(), O_RDONLY | O_CLOEXEC);
  if (in < 0) return fail(ErrorCode::io, "{}: cannot open: {}", from, ::strerror(errno));
  const std::string part = to + ".part";
  const int out = ::open(part.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  Status status;
  if (out < 0) status = write_failure(part);
  std::string buffer(1 << 20, '\0');
  while (status.ok()) {
    const ssize_t n = ::read(in, buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) status = fail(ErrorCode::io, "{}: cannot read: {}", from, ::strerror(errno));
    if (n <= 0) break;
    status = write_all(out, part, std::string_view(buffer.data(), static_cast<std::size_t>(n)));
  }
  if (status.ok() && ::fsync(out) != 0) status = write_failure(part);
  ::close(in);
  if (out >= 0) ::close(out);
  if (status.ok() && ::rename(part.c_str(), to.c_str()) != 0) status = write_failure(to);
  if (!status.ok()) {
    ::unlink(part.c_str());
    return status;
  }
  return sync_directory(parent_of(to));
}

Status make_directories(const std::string& path) {
  std::error_code problem;
  fs::create_directories(path, problem);
  if (problem || !fs::is_directory(path)) {
    return with_hint(fail(ErrorCode::io, "{}: cannot make this folder: {}", path,
                          problem ? problem.message() : "something else has that name"),
                     "choose a writable output folder with -o");
  }
  return {};
}

Status sync_directory(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return fail(ErrorCode::io, "{}: cannot open folder: {}", path, ::strerror(errno));
  const bool good = ::fsync(fd) == 0 || errno == EINVAL;  // some file systems cannot sync folders
  const int reason = errno;
  ::close(fd);
  if (!good) return fail(ErrorCode::io, "{}: cannot sync folder: {}", path, ::strerror(reason));
  return {};
}

bool is_directory(const std::string& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

bool file_exists(const std::string& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

std::vector<std::string> list_directory(const std::string& path) {
  std::vector<std::string> names;
  std::error_code problem;
  for (fs::directory_iterator it(path, problem), end; !problem && it != end; it.increment(problem)) {
    names.push_back(it->path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string nearest(std::string_view word, const std::vector<std::string>& candidates) {
  std::string best;
  std::size_t best_distance = std::max<std::size_t>(2, word.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    std::vector<std::size_t> row(candidate.size() + 1);
    for (std::size_t j = 0; j < row.size(); ++j) row[j] = j;
    for (std::size_t i = 1; i <= word.size(); ++i) {
      std::size_t diagonal = row[0];
      row[0] = i;
      for (std::size_t j = 1; j < row.size(); ++j) {
        const std::size_t swap = diagonal + (word[i - 1] != candidate[j - 1]);
        diagonal = row[j];
        row[j] = std::min({swap, row[j] + 1, row[j - 1] + 1});
      }
    }
    if (row.back() < best_distance) {
      best_distance = row.back();
      best = candidate;
    }
  }
  return best;
}

std::string sanitize_utf8(std::string_view text, std::int64_t* replaced) {
  std::string out;
  out.reserve(text.size());
  std::int64_t count = 0;
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const int length = lead < 0x80                   ? 1
                       : lead >= 0xC2 && lead < 0xE0 ? 2
                       : lead >= 0xE0 && lead < 0xF0 ? 3
                       : lead >= 0xF0 && lead < 0xF5 ? 4
                                                     : 0;
    int valid = length > 0 ? 1 : 0;
    while (valid > 0 && valid < length && i + valid < text.size()) {
      const auto next = static_cast<unsigned char>(text[i + valid]);
      // The second byte excludes overlong forms, surrogates, and code points above U+10FFFF.
      const unsigned low = valid > 1 ? 0x80 : lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
      const unsigned high = valid > 1 ? 0xBF : lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
      if (next < low || next > high) break;
      ++valid;
    }
    if (length > 0 && valid == length) {
      out.append(text.substr(i, static_cast<std::size_t>(length)));
      i += static_cast<std::size_t>(length);
    } else {
      out += "\xEF\xBF\xBD";
      ++count;
      i += static_cast<std::size_t>(std::max(valid, 1));
    }
  }
  if (replaced) *replaced = count;
  return out;
}

}  // namespace vernier
