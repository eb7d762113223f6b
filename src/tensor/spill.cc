#include "tensor/spill.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "base/fail.h"
#include "tensor/convert.h"

namespace vernier {
namespace {

constexpr std::int64_t piece_elements = 1 << 18;  // per conversion buffer

}  // namespace

Result<std::unique_ptr<SpillFile>> SpillFile::open(const std::string& path, DType dtype, std::int64_t rows,
                                                   std::int64_t cols) {
  std::unique_ptr<SpillFile> file(new SpillFile);
  file->path_ = path;
  file->dtype_ = dtype;
  file->rows_ = rows;
  file->cols_ = cols;
  file->fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (file->fd_ < 0) return fail(ErrorCode::io, "{}: cannot open scratch file: {}", path, ::strerror(errno));
  const std::int64_t bytes = rows * cols * size_bytes(dtype);
  struct stat info {};
  if (::fstat(file->fd_, &info) != 0) return fail(ErrorCode::io, "{}: {}", path, ::strerror(errno));
  if (info.st_size != bytes && ::ftruncate(file->fd_, bytes) != 0) {
    return fail(ErrorCode::io, "{}: cannot size scratch file to {} bytes: {}", path, bytes, ::strerror(errno));
  }
  return file;
}

SpillFile::~SpillFile() {
  if (fd_ >= 0) ::close(fd_);
}

Status SpillFile::write(std::int64_t first_row, Matrix<const float> values) {
  const std::int64_t step = std::max<std::int64_t>(1, piece_elements / std::max<std::int64_t>(1, cols_));
  std::vector<std::byte> piece(std::min(step, values.rows) * cols_ * size_bytes(dtype_));
  for (std::int64_t r = 0; r < values.rows; r += step) {
    const std::int64_t count = std::min(step, values.rows - r);
    const std::int64_t row_bytes = cols_ * size_bytes(dtype_);
    for (std::int64_t i = 0; i < count; ++i) {
      from_float({values.row(r + i), static_cast<std::size_t>(cols_)}, dtype_,
                 {piece.data() + i * row_bytes, static_cast<std::size_t>(row_bytes)});
    }
    std::int64_t done = 0;
    const std::int64_t total = count * row_bytes;
    while (done < total) {
      const ssize_t n = ::pwrite(fd_, piece.data() + done, total - done, (first_row + r) * row_bytes + done);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) {
        return with_hint(fail(ErrorCode::io, "{}: cannot write scratch data: {}", path_, ::strerror(errno)),
                         "free space there, or name another place with --scratch, then run the same command again");
      }
      done += n;
    }
  }
  return {};
}

Status SpillFile::read(std::int64_t first_row, Matrix<float> values) const {
  const std::int64_t step = std::max<std::int64_t>(1, piece_elements / std::max<std::int64_t>(1, cols_));
  const std::int64_t row_bytes = cols_ * size_bytes(dtype_);
  std::vector<std::byte> piece(std::min(step, values.rows) * row_bytes);
  for (std::int64_t r = 0; r < values.rows; r += step) {
    const std::int64_t count = std::min(step, values.rows - r);
    std::int64_t done = 0;
    const std::int64_t total = count * row_bytes;
    while (done < total) {
      const ssize_t n = ::pread(fd_, piece.data() + done, total - done, (first_row + r) * row_bytes + done);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0)
        return fail(ErrorCode::io, "{}: cannot read scratch data: {}", path_,
                    n == 0 ? "file ends early" : ::strerror(errno));
      done += n;
    }
    for (std::int64_t i = 0; i < count; ++i) {
      to_float({dtype_, {cols_}, {piece.data() + i * row_bytes, static_cast<std::size_t>(row_bytes)}}, 0,
               {values.row(r + i), static_cast<std::size_t>(cols_)});
    }
  }
  return {};
}

Status SpillFile::sync() {
  if (::fdatasync(fd_) != 0) return fail(ErrorCode::io, "{}: cannot sync: {}", path_, ::strerror(errno));
  return {};
}

Status SpillFile::remove() {
  if (::unlink(path_.c_str()) != 0 && errno != ENOENT)
    return fail(ErrorCode::io, "{}: cannot delete: {}", path_, ::strerror(errno));
  return {};
}

}  // namespace vernier
