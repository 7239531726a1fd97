// A loop shared by a few threads.
#ifndef TRIBUTARY_OPTIM_PARALLEL_H_
#define TRIBUTARY_OPTIM_PARALLEL_H_

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

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

}  // namespace tributary::optim

#endif  // TRIBUTARY_OPTIM_PARALLEL_H_
