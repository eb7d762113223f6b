// Activations between passes, in a scratch file that is read and written a piece at a time, so that they never count
// as resident memory. Values round to the element type on the way in, whatever the memory budget.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "vernier/status.h"
#include "vernier/tensor.h"

namespace vernier {

// rows x cols values of `dtype` (f32 or bf16) in one file, row-major.
class SpillFile {
 public:
  // Creates or opens `path` with exactly the bytes needed; an existing file keeps its content.
  static Result<std::unique_ptr<SpillFile>> open(const std::string& path, DType dtype, std::int64_t rows,
                                                 std::int64_t cols);
  ~SpillFile();
  SpillFile(const SpillFile&) = delete;
  SpillFile& operator=(const SpillFile&) = delete;

  std::int64_t rows() const { return rows_; }
  std::int64_t cols() const { return cols_; }
  const std::string& path() const { return path_; }

  Status write(std::int64_t first_row, Matrix<const float> values);  // thread-safe on disjoint rows
  Status read(std::int64_t first_row, Matrix<float> values) const;
  Status sync();    // durable on return
  Status remove();  // deletes the file

 private:
  SpillFile() = default;
  std::string path_;
  int fd_ = -1;
  DType dtype_ = DType::bf16;
  std::int64_t rows_ = 0, cols_ = 0;
};

}  // namespace vernier
