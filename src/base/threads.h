// The process's worker threads. Results never depend on how many there are: work is cut into the same pieces at any
// count.
#pragma once

#include <cstdint>
#include <functional>

namespace vernier {

int thread_count();                // workers that parallel_for uses, the caller included
void set_thread_count(int count);  // 0: one per core this process may use. Not while a parallel_for runs.
int available_cores();             // cores of the affinity mask, or fewer where a cgroup's quota allows fewer

// Binds worker i to the i-th core of the affinity mask; the calling thread stays free, as threads that it starts
// later would inherit its binding. VERNIER_PIN=1 asks for it from outside. Not while a parallel_for runs.
void pin_threads(bool pin);

// Calls body(i) once for every i in [0, count), on all workers, and returns when all are done. Pieces are handed out
// one at a time in rising order. A nested call runs on the calling worker alone. Libraries that bring their own
// threads (OpenMP inside oneDNN) are held to one thread inside body. Idle workers spin for a fraction of a millisecond
// before they sleep, so that a dispatch right after another costs about a microsecond.
void parallel_for(std::int64_t count, const std::function<void(std::int64_t)>& body);

// parallel_for in which every worker begins with a share of its own, the same at every call with this count, and helps
// the others when it is done: what it touched first stays near it, and nobody waits long for the slowest.
void parallel_owned(std::int64_t count, const std::function<void(std::int64_t)>& body);

// parallel_for over [0, count) in pieces of `grain`: body(first, last).
void parallel_ranges(std::int64_t count, std::int64_t grain,
                     const std::function<void(std::int64_t, std::int64_t)>& body);

// Cuts [0, count) into one range per worker, body(first, last). A worker gets the same range at every call with this
// count: what it touched first stays near it. Only for bodies whose results do not depend on where ranges end.
void parallel_static(std::int64_t count, const std::function<void(std::int64_t, std::int64_t)>& body);

}  // namespace vernier
