// Working memory of one worker, kept between pieces of work so that it is faulted in once.
#pragma once

#include <cstdint>
#include <memory>
#include <new>

namespace vernier::kernels {

// 64-byte-aligned numbers, uninitialised; grows and never shrinks. Make it thread_local in the op that uses it.
template <class T>
class Scratch {
 public:
  T* get(std::int64_t count) {
    if (count > count_) {
      memory_.reset();
      memory_.reset(new (std::align_val_t{64}) T[count]);
      count_ = count;
    }
    return memory_.get();
  }

 private:
  struct Free {
    void operator()(T* p) const { operator delete[](p, std::align_val_t{64}); }
  };
  std::unique_ptr<T[], Free> memory_;
  std::int64_t count_ = 0;
};

}  // namespace vernier::kernels
