// When a worker may write a whole copy of its state: so rarely that copies take at most 5 % of its time.
#ifndef TRIBUTARY_WORKER_COPY_BUDGET_H_
#define TRIBUTARY_WORKER_COPY_BUDGET_H_

#include <cstdint>

#include "absl/time/time.h"

namespace tributary::worker {

// Pure: time is an argument, on a monotonic clock. Not thread-safe.
class CopyBudget {
 public:
  // A copy costs this share of the time since the one before.
  static constexpr int kOneIn = 20;

  // `assumed`: what a copy costs until one was measured.
  CopyBudget(absl::Time now, absl::Duration assumed) : cost_(assumed), since_(now) {}

  // Whether a copy is due in `round`.
  //
  // A round waits for the slowest of its sites. So sites whose copies cost alike make them in the same rounds, those that are a multiple of
  // the same power of two, and the federation waits for them once. A site that misses such rounds makes its copy in any, after twice the
  // time.
  bool Due(uint64_t round, absl::Time now) const {
    const absl::Duration budget = cost_ * kOneIn;
    const absl::Duration elapsed = now - since_;
    if (elapsed < budget || elapsed >= 2 * budget) {
      return elapsed >= budget;
    }
    const uint64_t rounds = round > round_ ? round - round_ : 1;
    const uint64_t power_of_two = round & (~round + 1);
    return elapsed * (static_cast<double>(power_of_two) / static_cast<double>(rounds)) >= budget;
  }

  // One was made in `round`, and took `cost`.
  void Copied(uint64_t round, absl::Time now, absl::Duration cost) {
    round_ = round;
    since_ = now;
    cost_ = cost;
  }

 private:
  absl::Duration cost_;
  absl::Time since_;
  uint64_t round_ = 0;
};

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_COPY_BUDGET_H_
