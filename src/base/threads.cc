#include "base/threads.h"

#include <omp.h>
#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <string_view>
#include <thread>
#include <vector>

#include "base/cores.h"

namespace vernier {
namespace {

using std::chrono::microseconds;
using Clock = std::chrono::steady_clock;

// Tells the core that its thread waits in a loop.
inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  asm volatile("isb" ::: "memory");  // "yield" does nothing on most cores
#endif
}

// A layer's ops follow each other within microseconds, a token's sampling takes less than this.
constexpr microseconds kSpin{200};
// With more workers than cores a spinning worker takes the time of one that has work.
constexpr microseconds kCrowdedSpin{2};

thread_local bool inside_worker = false;

// Spins until `ready`, for `budget` at most; whether it became ready.
template <class Ready>
bool spin_until(const Ready& ready, microseconds budget) {
  constexpr int kPauses = 32;  // between two looks at the clock: about a microsecond
  for (int i = 0; i < kPauses; ++i) {
    if (ready()) return true;
    relax();
  }
  const auto deadline = Clock::now() + budget;
  do {
    for (int i = 0; i < kPauses; ++i) {
      if (ready()) return true;
      relax();
    }
  } while (Clock::now() < deadline);
  return ready();
}

// Marks this thread as a worker and holds OpenMP to it.
class Inside {
 public:
  Inside() : openmp_threads_(omp_get_max_threads()) {
    inside_worker = true;
    if (openmp_threads_ != 1) omp_set_num_threads(1);
  }
  ~Inside() {
    if (openmp_threads_ != 1) omp_set_num_threads(openmp_threads_);
    inside_worker = false;
  }
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;

 private:
  int openmp_threads_;
};

// All state of a job that workers race for is one word, the gate: the job's number, whether more workers may enter,
// and how many are inside. A job ends when the gate is closed and nobody is inside. Pieces of a shared job are drawn
// from counters, so workers that come late find the gate closed and are not waited for; in an assigned job every
// worker counts as inside from the start.
class Pool {
 public:
  Pool(int count, bool pin) : spin_(count > available_cores() ? kCrowdedSpin : kSpin), shares_(count) {
    for (int worker = 1; worker < count; ++worker) {
      workers_.emplace_back([this, worker] { work(worker); });
      if (pin) bind(workers_.back(), worker);
    }
  }
  ~Pool() {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    for (std::thread& thread : workers_) thread.join();
  }

  int size() const { return static_cast<int>(workers_.size()) + 1; }

  // body(i) for i in [0, count), cut into shares: a worker draws from its own first, then from the others'.
  void run_shared(std::int64_t count, int shares, const std::function<void(std::int64_t)>& body) {
    body_ = &body;
    used_shares_ = shares;
    for (int s = 0; s < shares; ++s) {
      shares_[s].next.store(count * s / shares, std::memory_order_relaxed);
      shares_[s].end = count * (s + 1) / shares;
    }
    open(kOpen);
    drain(0);
    gate_.fetch_and(~kOpen);
    wait_until_empty();
  }

  // body(worker) once on every worker.
  void run_assigned(const std::function<void(std::int64_t)>& body) {
    body_ = &body;
    open(kAssigned | workers_.size());
    body(0);
    wait_until_empty();
  }

 private:
  static constexpr std::uint64_t kInside = 0xFFFFFF;  // the lowest bits
  static constexpr std::uint64_t kOpen = 1 << 24, kAssigned = 1 << 25;
  static constexpr int kNumberShift = 32;

  // Pieces [next, end) are not drawn yet.
  struct alignas(64) Share {
    std::atomic<std::int64_t> next{0};
    std::int64_t end = 0;
  };

  static std::uint64_t number(std::uint64_t gate) { return gate >> kNumberShift; }

  static void bind(std::thread& thread, int worker) {
    const std::vector<int>& cores = allowed_cores();
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cores[worker % cores.size()], &set);
    pthread_setaffinity_np(thread.native_handle(), sizeof set, &set);  // a refusal costs speed alone
  }

  void open(std::uint64_t state) {
    gate_.store(((number(gate_.load(std::memory_order_relaxed)) + 1) << kNumberShift) | state);
    // A worker counts itself as sleeping before it looks at the gate for the last time: one of the two sees the other.
    if (sleeping_.load() == 0) return;
    { std::lock_guard lock(mutex_); }
    wake_.notify_all();
  }

  void drain(int worker) {
    const auto& body = *body_;
    for (int s = 0; s < used_shares_; ++s) {
      Share& share = shares_[(worker + s) % used_shares_];
      for (std::int64_t i; (i = share.next.fetch_add(1, std::memory_order_relaxed)) < share.end;) body(i);
    }
  }

  void wait_until_empty() {
    const auto empty = [this] { return (gate_.load() & kInside) == 0; };
    if (spin_until(empty, spin_)) return;
    caller_sleeps_.store(true);
    std::unique_lock lock(mutex_);
    done_.wait(lock, empty);
    caller_sleeps_.store(false);
  }

  void leave() {
    if ((gate_.fetch_sub(1) & kInside) != 1 || !caller_sleeps_.load()) return;
    { std::lock_guard lock(mutex_); }
    done_.notify_one();
  }

  // The gate of a job other than `seen`, or nothing when the pool stops.
  bool next_job(std::uint64_t seen, std::uint64_t& gate) {
    const auto arrived = [&] { return number(gate = gate_.load()) != seen; };
    if (spin_until(arrived, spin_)) return true;
    std::unique_lock lock(mutex_);
    ++sleeping_;
    wake_.wait(lock, [&] { return stopping_ || arrived(); });
    --sleeping_;
    return !stopping_;
  }

  void work(int worker) {
    const Inside inside;
    std::uint64_t seen = 0, gate = 0;
    while (next_job(seen, gate)) {
      seen = number(gate);
      if (gate & kAssigned) {
        (*body_)(worker);
        leave();
        continue;
      }
      while (number(gate) == seen && (gate & kOpen)) {
        if (!gate_.compare_exchange_weak(gate, gate + 1)) continue;
        drain(worker);
        leave();
        break;
      }
    }
  }

  const microseconds spin_;
  std::vector<std::thread> workers_;

  alignas(64) std::atomic<std::uint64_t> gate_{0};
  // Written while nobody is inside.
  alignas(64) const std::function<void(std::int64_t)>* body_ = nullptr;
  std::vector<Share> shares_;
  int used_shares_ = 0;

  alignas(64) std::mutex mutex_;
  std::condition_variable wake_, done_;
  std::atomic<int> sleeping_{0};
  std::atomic<bool> caller_sleeps_{false};
  bool stopping_ = false;
};

int configured = 0;  // 0: not set

bool& pinned() {
  static bool value = [] {
    const char* text = std::getenv("VERNIER_PIN");
    return text && std::string_view(text) == "1";
  }();
  return value;
}

std::mutex job_mutex;  // one job at a time, whoever asks
std::unique_ptr<Pool> pool;

Pool& ready_pool() {
  if (!pool) pool = std::make_unique<Pool>(thread_count(), pinned());
  return *pool;
}

// `owned`: with a share for every worker.
void run_pieces(std::int64_t count, bool owned, const std::function<void(std::int64_t)>& body) {
  if (count <= 0) return;
  if (inside_worker) {
    for (std::int64_t i = 0; i < count; ++i) body(i);
    return;
  }
  std::lock_guard one_job(job_mutex);
  const Inside inside;
  if (count == 1) return body(0);
  Pool& workers = ready_pool();
  workers.run_shared(count, owned ? workers.size() : 1, body);
}

}  // namespace

int available_cores() {
  const int cores = static_cast<int>(allowed_cores().size());
  const double quota = cpu_quota();
  return quota > 0 ? std::min(cores, static_cast<int>(std::ceil(quota))) : cores;
}

int thread_count() { return configured > 0 ? configured : available_cores(); }

void set_thread_count(int count) {
  std::lock_guard one_job(job_mutex);
  configured = std::max(0, count);
  pool.reset();
}

void pin_threads(bool pin) {
  std::lock_guard one_job(job_mutex);
  pinned() = pin;
  pool.reset();
}

void parallel_for(std::int64_t count, const std::function<void(std::int64_t)>& body) { run_pieces(count, false, body); }

void parallel_owned(std::int64_t count, const std::function<void(std::int64_t)>& body) {
  run_pieces(count, true, body);
}

void parallel_ranges(std::int64_t count, std::int64_t grain,
                     const std::function<void(std::int64_t, std::int64_t)>& body) {
  const std::int64_t pieces = (count + grain - 1) / grain;
  parallel_for(pieces, [&](std::int64_t i) { body(i * grain, std::min(count, (i + 1) * grain)); });
}

void parallel_static(std::int64_t count, const std::function<void(std::int64_t, std::int64_t)>& body) {
  if (count <= 0) return;
  if (inside_worker) return body(0, count);
  std::lock_guard one_job(job_mutex);
  const Inside inside;
  Pool& workers = ready_pool();
  const std::int64_t size = workers.size();
  workers.run_assigned([&](std::int64_t worker) {
    const std::int64_t first = count * worker / size, last = count * (worker + 1) / size;
    if (first < last) body(first, last);
  });
}

}  // namespace vernier
