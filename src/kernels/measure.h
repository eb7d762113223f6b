// What the machine can do at best, measured: the limits that kernels are held to. Each is the best of a few passes.
#pragma once

#include <cstdint>

namespace vernier::kernels {

// The sum of `count` words, in sixty-four independent lanes: the loads, not the additions, are what takes time. A rest
// of fewer words is not read.
std::uint64_t read_words(const std::uint64_t* at, std::int64_t count);

// Bytes per second that `workers` threads read from memory no cache holds.
double measure_read_bytes_per_s(int workers);

// Operations per second (a multiplication and an addition are two) of oneDNN's float products of 768 x 768 matrices,
// one per worker at a time.
double measure_sgemm_flops_per_s(int workers);

// Operations per second of oneDNN's u8 x s8 product [tokens, cols] x [cols, rows], cut into as many row ranges as there
// are workers; 0 where oneDNN has none.
double measure_int8_ops_per_s(std::int64_t tokens, std::int64_t rows, std::int64_t cols, int workers);

}  // namespace vernier::kernels
