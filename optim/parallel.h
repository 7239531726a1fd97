// A loop shared by a few threads.
#ifndef TRIBUTARY_OPTIM_PARALLEL_H_
#define TRIBUTARY_OPTIM_PARALLEL_H_

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace tributary::optim {

// Calls work(i) once for each i in [0, count), from `threads` threads (the caller's is one of them), and returns when all are done. Which
// thread takes which i is left open: `work` must give the same result either way, and must not throw.
template <typename Work>
void ParallelFor(int threads, int64_t count, const Work& work) {
  std::atomic<int64_t> next{0};
  auto take = [&] {
    for (int64_t i = next.fetch_add(1, std::memory_order_relaxed); i < count; i = next.fetch_add(1, std::memory_order_relaxed)) work(i);
  };
  const int64_t helpers = std::min<int64_t>(threads, count) - 1;
  std::vector<std::thread> pool;
  for (int64_t i = 0; i < helpers; ++i) pool.emplace_back(take);
  take();
  for (std::thread& thread : pool) thread.join();
}

}  // namespace tributary::optim

#endif  // TRIBUTARY_OPTIM_PARALLEL_H_
