// Random numbers that are a function of a key and a position, so that a restarted worker draws what it would have drawn.
#ifndef TRIBUTARY_WORKER_DATA_COUNTER_RNG_H_
#define TRIBUTARY_WORKER_DATA_COUNTER_RNG_H_

#include <cstdint>

#include "absl/strings/string_view.h"

namespace tributary::worker {

// Not for secrets. Not thread-safe.
// Source: SplitMix64 (Steele, Lea, Flood, OOPSLA 2014) over a counter; the key is the start of a SHA-256.
class CounterRng {
 public:
  // `key` names the use ("batch/SEED/SITE/ROUND/STEP"): different keys give unrelated streams.
  explicit CounterRng(absl::string_view key);

  uint64_t Next();
  // Uniform in [0, bound), bound >= 1 (bias below bound / 2^64).
  uint64_t Below(uint64_t bound);
  // Uniform in [0, 1).
  double Uniform();

 private:
  uint64_t state_;
};

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_DATA_COUNTER_RNG_H_
