#include "base/threads.h"

#include <omp.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

namespace vernier {
namespace {

thread_local bool inside_worker = false;

// Workers sleep between jobs. A job is a counter that all workers, the caller included, draw pieces from.
class Pool {
 public:
  explicit Pool(int count) {
    for (int i = 1; i < count; ++i) workers_.emplace_back([this] { work(); });
  }
  ~Pool() {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }

  void run(std::int64_t count, const std::function<void(std::int64_t)>& body) {
    std::lock_guard one_job(job_mutex_);
    {
      std::lock_guard lock(mutex_);
      body_ = &body;
      count_ = count;
      next_ = 0;
      active_ = static_cast<int>(workers_.size());
      ++generation_;
    }
    wake_.notify_all();
    drain(count, body);
    std::unique_lock lock(mutex_);
    done_.wait(lock, [this] { return active_ == 0; });
    body_ = nullptr;
  }

 private:
  void drain(std::int64_t count, const std::function<void(std::int64_t)>& body) {
    const bool was_inside = inside_worker;
    const int openmp_threads = omp_get_max_threads();
    inside_worker = true;
    omp_set_num_threads(1);
    for (std::int64_t i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < count;) body(i);
    omp_set_num_threads(openmp_threads);
    inside_worker = was_inside;
  }

  void work() {
    std::uint64_t seen = 0;
    for (;;) {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return stopping_ || generation_ != seen; });
      if (stopping_) return;
      seen = generation_;
      const auto* body = body_;
      const std::int64_t count = count_;
      lock.unlock();
      drain(count, *body);
      lock.lock();
      if (--active_ == 0) done_.notify_one();
    }
  }

  std::vector<std::thread> workers_;
  std::mutex job_mutex_, mutex_;
  std::condition_variable wake_, done_;
  const std::function<void(std::int64_t)>* body_ = nullptr;
  std::int64_t count_ = 0;
  std::atomic<std::int64_t> next_{0};
  int active_ = 0;
  std::uint64_t generation_ = 0;
  bool stopping_ = false;
};

int configured = 0;  // 0: not set

std::unique_ptr<Pool>& pool() {
  static std::unique_ptr<Pool> instance;
  return instance;
}

}  // namespace

int available_cores() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1u, std::thread::hardware_concurrency());
}

int thread_count() { return configured > 0 ? configured : available_cores(); }

void set_thread_count(int count) {
  configured = std::max(0, count);
  pool().reset();
}

void parallel_for(std::int64_t count, const std::function<void(std::int64_t)>& body) {
  if (count <= 0) return;
  if (inside_worker) {
    for (std::int64_t i = 0; i < count; ++i) body(i);
    return;
  }
  if (!pool()) pool() = std::make_unique<Pool>(thread_count());
  pool()->run(count, body);
}

void parallel_ranges(std::int64_t count, std::int64_t grain,
                     const std::function<void(std::int64_t, std::int64_t)>& body) {
  const std::int64_t pieces = (count + grain - 1) / grain;
  parallel_for(pieces, [&](std::int64_t i) { body(i * grain, std::min(count, (i + 1) * grain)); });
}

}  // namespace vernier
