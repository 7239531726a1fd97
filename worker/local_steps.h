// How many local steps a site takes in a round: as many as it is told, or as fit into the run's time for them.
#ifndef TRIBUTARY_WORKER_LOCAL_STEPS_H_
#define TRIBUTARY_WORKER_LOCAL_STEPS_H_

#include <cstdint>

#include "absl/time/time.h"
#include "common/clock.h"
#include "optim/options.h"

namespace tributary::worker {

// Of one round: `for (LocalSteps steps(...); steps.Next();) { ... }`. Not thread-safe.
class LocalSteps {
 public:
  // `most`: that the site takes whatever time is left. `clock` outlives it; it is read once after each step, and only where steps are
  // timed.
  LocalSteps(const optim::OptimizerOptions& options, const optim::RoundParameters& parameters, uint32_t most, const Clock* clock)
      : time_(options.local_time), told_(parameters.local_steps), most_(most), clock_(clock) {}

  // Whether there is another step to take, which counts as taken from then on. By time: the fewest that there must be, then while another
  // one fits that lasts as long as the mean of those before.
  bool Next() {
    if (!Another()) {
      return false;
    }
    ++taken_;
    return true;
  }

  uint32_t taken() const { return taken_; }

 private:
  bool Another() {
    if (time_ == absl::ZeroDuration()) {
      return taken_ < told_;
    }
    const absl::Time now = clock_->Now();
    if (taken_ == 0) {
      start_ = now;
    }
    const absl::Duration elapsed = now - start_;
    return taken_ < optim::kLeastTimedSteps || (taken_ < most_ && elapsed + elapsed / taken_ <= time_);
  }

  const absl::Duration time_;
  const uint32_t told_;
  const uint32_t most_;
  const Clock* const clock_;
  absl::Time start_;
  uint32_t taken_ = 0;
};

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_LOCAL_STEPS_H_
