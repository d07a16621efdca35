// How an operation spreads over threads: OpenMP, as oneDNN does, so that both share one set of
// workers.
#pragma once

#include <omp.h>

#include <algorithm>
#include <csignal>
#include <cstdint>

namespace okapi::cpu {

/// Signals wait until an operation is over: oneDNN's AVX2 product moves the stack pointer into a
/// buffer on the heap, and a handler that runs then writes over what lies before that buffer (seen
/// with 2.6: Ctrl-C, then an abort in free). Threads that OpenMP starts meanwhile take no signals
/// at all. Faults are not held back.
class SignalDelay {
 public:
  SignalDelay() {
    sigset_t held;
    sigfillset(&held);
    for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT}) {
      sigdelset(&held, fault);
    }
    pthread_sigmask(SIG_BLOCK, &held, &before_);
  }
  ~SignalDelay() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalDelay(const SignalDelay&) = delete;
  SignalDelay& operator=(const SignalDelay&) = delete;

 private:
  sigset_t before_;
};

/// Threads that OpenMP gives when so many are wanted: OMP_THREAD_LIMIT may allow fewer.
inline int most_threads(int wanted) { return std::min(wanted, omp_get_thread_limit()); }

/// OpenMP's thread count is a setting of the calling thread, which oneDNN reads too. Every entry
/// into the backend sets its own limit and gives the caller's back on return. OpenMP must give as
/// many (so not fewer when it finds the machine busy, and see most_threads): oneDNN deals out work
/// by that number, and what it deals to threads that do not come is silently not done.
class ThreadLimit {
 public:
  explicit ThreadLimit(int n_threads)
      : before_(omp_get_max_threads()), was_dynamic_(omp_get_dynamic()) {
    omp_set_dynamic(0);
    omp_set_num_threads(n_threads);
  }
  ~ThreadLimit() {
    omp_set_num_threads(before_);
    omp_set_dynamic(was_dynamic_);
  }
  ThreadLimit(const ThreadLimit&) = delete;
  ThreadLimit& operator=(const ThreadLimit&) = delete;

 private:
  SignalDelay delay_;
  int before_;
  int was_dynamic_;
};

/// Below this many elements or multiply-adds, waking the other threads costs more than they save.
constexpr int64_t kWorthThreads = 32768;

/// Calls body(begin, end) on disjoint ranges that cover [0, n), each a multiple of `grain` but the
/// last. The body must not throw. `work` estimates the elements touched in all.
template <typename Body>
void parallel_ranges(int64_t n, int64_t grain, int64_t work, const Body& body) {
  const int64_t n_grains = (n + grain - 1) / grain;
  if (n_grains <= 1 || work < kWorthThreads) {
    if (n > 0) body(int64_t{0}, n);
    return;
  }
#pragma omp parallel
  {
    const int64_t n_threads = omp_get_num_threads();
    const int64_t thread = omp_get_thread_num();
    const int64_t begin = n_grains * thread / n_threads * grain;
    const int64_t end = std::min(n, n_grains * (thread + 1) / n_threads * grain);
    if (begin < end) body(begin, end);
  }
}

/// Calls body(task) for [0, n_tasks), each by whichever thread is free, in this order. The body
/// must not throw.
template <typename Body>
void parallel_tasks(int64_t n_tasks, int64_t work, const Body& body) {
#pragma omp parallel for schedule(dynamic, 1) if (n_tasks > 1 && work >= kWorthThreads)
  for (int64_t task = 0; task < n_tasks; ++task) body(task);
}

}  // namespace okapi::cpu
