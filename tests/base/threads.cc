#include "base/threads.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <atomic>
#include <chrono>
#include <ctime>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "base/cores.h"

namespace vernier {
namespace {

class Threads : public ::testing::TestWithParam<int> {
 protected:
  void SetUp() override { set_thread_count(GetParam()); }
  void TearDown() override { set_thread_count(0); }
};

TEST_P(Threads, EveryPieceOnce) {
  for (std::int64_t count : {0, 1, 2, 7, 1000}) {
    std::vector<std::atomic<int>> hits(count), owned_hits(count), range_hits(count);
    parallel_for(count, [&](std::int64_t i) { ++hits[i]; });
    parallel_owned(count, [&](std::int64_t i) { ++owned_hits[i]; });
    parallel_ranges(count, 7, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t i = first; i < last; ++i) ++range_hits[i];
    });
    for (const auto& h : hits) EXPECT_EQ(h, 1);
    for (const auto& h : owned_hits) EXPECT_EQ(h, 1);
    for (const auto& h : range_hits) EXPECT_EQ(h, 1);
  }
}

// While all workers are at their first piece, each of those is the first of a share.
TEST_P(Threads, AWorkerBeginsWithItsOwnShare) {
  const std::int64_t workers = GetParam(), count = 4 * workers;
  std::vector<std::thread::id> owner(count);
  std::atomic<std::int64_t> begun{0};
  parallel_owned(count, [&](std::int64_t i) {
    owner[i] = std::this_thread::get_id();
    ++begun;
    while (begun < workers) std::this_thread::yield();
  });
  std::set<std::thread::id> first;
  for (std::int64_t w = 0; w < workers; ++w) first.insert(owner[4 * w]);
  EXPECT_EQ(static_cast<std::int64_t>(first.size()), workers);
}

// What one job writes, the next one and the caller see.
TEST_P(Threads, ManyTinyJobsInARow) {
  constexpr int kJobs = 20000;
  std::int64_t values[5] = {};
  for (int job = 0; job < kJobs; ++job) {
    const std::int64_t count = job % 5 + 1;
    parallel_for(count, [&](std::int64_t i) { ++values[i]; });
  }
  for (int i = 0; i < 5; ++i) EXPECT_EQ(values[i], kJobs / 5 * (5 - i));
}

TEST_P(Threads, JobsAfterWorkersFellAsleep) {
  for (int job = 0; job < 20; ++job) {
    std::atomic<int> sum{0};
    parallel_for(8, [&](std::int64_t i) {
      if (i == job % 8) std::this_thread::sleep_for(std::chrono::milliseconds(1));  // others wait for this one
      sum += static_cast<int>(i);
    });
    EXPECT_EQ(sum, 28);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

TEST_P(Threads, NestedJobsRunOnTheirWorker) {
  std::atomic<int> total{0};
  parallel_for(4, [&](std::int64_t) {
    const auto worker = std::this_thread::get_id();
    std::int64_t next = 0;
    parallel_for(5, [&](std::int64_t i) {
      EXPECT_EQ(std::this_thread::get_id(), worker);
      EXPECT_EQ(i, next++);
      ++total;
    });
    parallel_static(3, [&](std::int64_t first, std::int64_t last) {
      EXPECT_EQ(std::this_thread::get_id(), worker);
      total += static_cast<int>(last - first);
    });
  });
  EXPECT_EQ(total, 4 * (5 + 3));
}

TEST_P(Threads, LibrariesAreHeldToOneThread) {
  const int before = omp_get_max_threads();
  omp_set_num_threads(3);
  parallel_for(4, [](std::int64_t) { EXPECT_EQ(omp_get_max_threads(), 1); });
  parallel_static(4, [](std::int64_t, std::int64_t) { EXPECT_EQ(omp_get_max_threads(), 1); });
  EXPECT_EQ(omp_get_max_threads(), 3);
  omp_set_num_threads(before);
}

TEST_P(Threads, AWorkerKeepsItsStaticRange) {
  for (std::int64_t count : {1, 2, 100}) {
    std::vector<std::thread::id> owner(count);
    for (int job = 0; job < 200; ++job) {
      std::vector<std::atomic<int>> hits(count);
      parallel_static(count, [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t i = first; i < last; ++i) {
          ++hits[i];
          if (job == 0) owner[i] = std::this_thread::get_id();
          EXPECT_EQ(owner[i], std::this_thread::get_id());
        }
      });
      for (const auto& h : hits) EXPECT_EQ(h, 1);
    }
    EXPECT_EQ(std::set(owner.begin(), owner.end()).size(), std::min<std::size_t>(count, GetParam()));
  }
}

TEST_P(Threads, JobsFromSeveralThreadsTakeTurns) {
  std::atomic<std::int64_t> total{0};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 3; ++caller) {
    callers.emplace_back([&] {
      for (int job = 0; job < 300; ++job) parallel_for(10, [&](std::int64_t i) { total += i; });
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(total, 3 * 300 * 45);
}

TEST_P(Threads, PinnedWorkersDoTheSame) {
  pin_threads(true);
  std::atomic<std::int64_t> total{0};
  parallel_for(100, [&](std::int64_t i) { total += i; });
  pin_threads(false);
  EXPECT_EQ(total, 4950);
}

INSTANTIATE_TEST_SUITE_P(Counts, Threads, ::testing::Values(1, 2, 3, 7));

TEST(ThreadPool, IdleWorkersTakeNoTime) {
  set_thread_count(3);
  parallel_for(30, [](std::int64_t) {});
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const std::clock_t before = std::clock();  // of the whole process
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_LT(static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC, 0.02);
  set_thread_count(0);
}

TEST(Cores, ReadsQuotas) {
  EXPECT_EQ(quota_of_cpu_max("200000 100000\n"), 2);
  EXPECT_EQ(quota_of_cpu_max("50000 100000"), 0.5);
  for (const char* none : {"max 100000", "", "nonsense", "1", "-1 100000", "100000 0"})
    EXPECT_EQ(quota_of_cpu_max(none), 0) << none;
  EXPECT_GE(available_cores(), 1);
  EXPECT_LE(available_cores(), static_cast<int>(allowed_cores().size()));
}

TEST(Cores, CountsMemoryNodes) {
  EXPECT_EQ(numbers_in_list("0"), 1);
  EXPECT_EQ(numbers_in_list("0-1"), 2);
  EXPECT_EQ(numbers_in_list("0-1,3,5-7\n"), 6);
  for (const char* none : {"", "a", "1-0", "0-", "-1"}) EXPECT_EQ(numbers_in_list(none), 0) << none;
  EXPECT_GE(memory_nodes(), 1);
}

}  // namespace
}  // namespace vernier
