// Holds OpenMP inside oneDNN to the calling thread, inside parallel_for and outside of it.
#pragma once

#include <omp.h>

namespace vernier::kernels {

class OneThread {
 public:
  OneThread() : before_(omp_get_max_threads()) {
    if (before_ != 1) omp_set_num_threads(1);
  }
  ~OneThread() {
    if (before_ != 1) omp_set_num_threads(before_);
  }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int before_;
};

}  // namespace vernier::kernels
