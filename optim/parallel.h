// A loop shared by a few threads.
#ifndef TRIBUTARY_OPTIM_PARALLEL_H_
#define TRIBUTARY_OPTIM_PARALLEL_H_

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"

namespace tributary::optim {

// Of `available` threads, how many to give to Apply, an encoder or a state hash of a model of `parameters`: one where starting the others
// would cost more than they save (a pass over 2^20 parameters takes about a millisecond), and never more than profit.
constexpr int UsefulThreads(int64_t parameters, int available) {
  constexpr int64_t kWorthSharing = int64_t{1} << 20;
  constexpr int kMaxThreads = 16;
  return parameters < kWorthSharing ? 1 : std::clamp(available, 1, kMaxThreads);
}

// Calls work(i) once for each i in [0, count), from `threads` threads (the caller's is one of them), and returns when all are done. Which
// thread takes which i is left open: `work` must give the same result either way, and must not throw.
template <typename Work>
void ParallelFor(int threads, int64_t count, const Work& work) {
  std::atomic<int64_t> next{0};
  auto take = [&] {
    for (int64_t i = next.fetch_add(1, std::memory_order_relaxed); i < count; i = next.fetch_add(1, std::memory_order_relaxed)) {
      work(i);
    }
  };
  const int64_t helpers = std::min<int64_t>(threads, count) - 1;
  std::vector<std::thread> pool;
  for (int64_t i = 0; i < helpers; ++i) {
    pool.emplace_back(take);
  }
  take();
  for (std::thread& thread : pool) {
    thread.join();
  }
}

// As ParallelFor, of work(i, scratch) that may fail: returns the error of the lowest i that has one, whatever the threads do. What lies
// behind an error may not have been done. Each thread has a `Scratch` of its own, from one i to the next.
template <typename Scratch, typename Work>
absl::Status TryParallelFor(int threads, int64_t count, const Work& work) {
  std::atomic<int64_t> next{0};
  std::atomic<bool> failed{false};
  std::mutex mutex;
  int64_t first = count;  // guarded by mutex, as is error
  absl::Status error;
  ParallelFor(threads, std::min<int64_t>(threads, count), [&](int64_t) {
    Scratch scratch{};
    while (!failed.load(std::memory_order_relaxed)) {
      const int64_t i = next.fetch_add(1, std::memory_order_relaxed);
      if (i >= count) {
        return;
      }
      absl::Status status = work(i, scratch);
      if (status.ok()) {
        continue;
      }
      const std::lock_guard<std::mutex> lock(mutex);
      failed.store(true, std::memory_order_relaxed);
      if (i < first) {
        first = i;
        error = std::move(status);
      }
    }
  });
  return error;
}

}  // namespace tributary::optim

#endif  // TRIBUTARY_OPTIM_PARALLEL_H_
