// Time as an argument. Nothing outside this file and main() reads the machine's clock.
#ifndef TRIBUTARY_COMMON_CLOCK_H_
#define TRIBUTARY_COMMON_CLOCK_H_

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace tributary {

// Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  // Monotonic within a process: for deadlines and durations.
  virtual absl::Time Now() const = 0;
  // Calendar time: for records and certificates. May jump.
  virtual absl::Time WallNow() const = 0;

  // The machine's clock; never destroyed.
  static Clock& Real();
};

// Moves only when told.
class SimulatedClock final : public Clock {
 public:
  explicit SimulatedClock(absl::Time start = absl::UnixEpoch()) : now_(start) {}
  absl::Time Now() const override;
  absl::Time WallNow() const override { return Now(); }
  void Advance(absl::Duration by);

 private:
  mutable absl::Mutex mutex_;
  absl::Time now_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_CLOCK_H_
