// How many streams the connections of one identity may open, and reset.
#ifndef TRIBUTARY_COORDINATOR_GUARD_STREAM_BUDGET_H_
#define TRIBUTARY_COORDINATOR_GUARD_STREAM_BUDGET_H_

#include <mutex>

#include "absl/time/time.h"
#include "common/rate_limit.h"

namespace tributary::coordinator {

// A stream costs gRPC and us a call, whether it is used or reset at once. What one connection had too much of, the next one of the same
// identity must not have anew. Thread-safe.
class StreamBudget {
 public:
  // A busy worker opens two streams a round, in tests forty rounds a second.
  static constexpr RateLimit::Options kStreams = {.per_second = 500, .burst = 2000};
  static constexpr RateLimit::Options kResets = {.per_second = 100, .burst = 1000};
  // Each connection's own, whoever has used up the rest: who has stolen a key must not end the connection of the key's owner.
  static constexpr RateLimit::Options kGrantedStreams = {.per_second = 10, .burst = 16};
  static constexpr RateLimit::Options kGrantedResets = {.per_second = 1, .burst = 8};
  // All of it is back after so long.
  static constexpr absl::Duration kRefill = absl::Seconds(10);

  // Whether one more may be opened, or reset, at `now`, beyond what is granted.
  bool TakeStream(absl::Time now) {
    const std::lock_guard<std::mutex> lock(mutex_);
    return streams_.Take(now);
  }
  bool TakeReset(absl::Time now) {
    const std::lock_guard<std::mutex> lock(mutex_);
    return resets_.Take(now);
  }

 private:
  std::mutex mutex_;
  RateLimit streams_{kStreams};
  RateLimit resets_{kResets};
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_GUARD_STREAM_BUDGET_H_
