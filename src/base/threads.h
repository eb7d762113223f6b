// The process's worker threads. Results never depend on how many there are: work is cut into the same pieces at any
// count.
#pragma once

#include <cstdint>
#include <functional>

namespace vernier {

int thread_count();                // workers that parallel_for uses, the caller included
void set_thread_count(int count);  // 0: one per core this process may run on. Not while a parallel_for runs.
int available_cores();

// Calls body(i) once for every i in [0, count), on all workers, and returns when all are done. Pieces are handed out
// one at a time in rising order. A nested call runs on the calling worker alone. Libraries that bring their own
// threads (OpenMP inside oneDNN) are held to one thread inside body.
void parallel_for(std::int64_t count, const std::function<void(std::int64_t)>& body);

// parallel_for over [0, count) in pieces of `grain`: body(first, last).
void parallel_ranges(std::int64_t count, std::int64_t grain,
                     const std::function<void(std::int64_t, std::int64_t)>& body);

}  // namespace vernier
