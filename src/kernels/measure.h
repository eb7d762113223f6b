// What the machine can do at best, measured: the limits that kernels are held to. measure_* are the best of a few
// passes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace vernier::kernels {

// The sum of `count` words, in sixty-four independent lanes: the loads, not the additions, are what takes time. A rest
// of fewer words is not read.
std::uint64_t read_words(const std::uint64_t* at, std::int64_t count);

// Reads all of `bytes` (8-byte aligned), an equal share on every thread.
void read_bytes(std::span<const std::byte> bytes);

// Bytes per second that `workers` threads read from memory no cache holds.
double measure_read_bytes_per_s(int workers);

// Operations per second (a multiplication and an addition are two) of oneDNN's float products of 768 x 768 matrices,
// one per worker at a time.
double measure_sgemm_flops_per_s(int workers);

// oneDNN's u8 x s8 product [tokens, cols] x [cols, rows], cut into as many row ranges as there are workers.
class Int8Product {
 public:
  Int8Product(std::int64_t tokens, std::int64_t rows, std::int64_t cols, int workers);
  bool run();  // false where oneDNN has none
  double operations() const { return 2.0 * static_cast<double>(tokens_ * each_ * workers_ * cols_); }

 private:
  std::int64_t tokens_, rows_, cols_, workers_, each_;
  std::vector<std::uint8_t> x_;
  std::vector<std::int8_t> w_;
  std::vector<std::int32_t> y_;
};

// Operations per second (a multiplication and an addition are two) of an Int8Product; 0 where oneDNN has none.
double measure_int8_ops_per_s(std::int64_t tokens, std::int64_t rows, std::int64_t cols, int workers);

}  // namespace vernier::kernels
