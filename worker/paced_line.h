// A worker's line to the coordinator, both ways, kept to the caps of bandwidth.up and bandwidth.down.
#ifndef TRIBUTARY_WORKER_PACED_LINE_H_
#define TRIBUTARY_WORKER_PACED_LINE_H_

#include <cstdint>
#include <functional>

#include "absl/time/time.h"
#include "common/byte_kind.h"
#include "common/clock.h"
#include "common/executor.h"
#include "worker/token_bucket.h"

namespace tributary::worker {

// Sizes are of encoded messages, before framing; what the framing adds (common/wire_size.h) is counted in. Not thread-safe: all on the
// executor.
class PacedLine {
 public:
  // Bytes per second over the line; 0: no limit. `executor` and `clock` outlive it.
  PacedLine(uint64_t up_rate, uint64_t down_rate, SerialExecutor* executor, Clock* clock);

  bool limited(ByteDirection direction) const { return Of(direction).limited(); }
  // As much of `bytes` as goes up in a quarter of a second, at least 1.
  uint64_t FrameBytes(uint64_t bytes) const;

  // For a message of the session, which goes at once and holds up what waits. Warns now and then when such messages take more than their
  // share.
  void Charge(ByteDirection direction, uint64_t encoded_bytes);
  // Takes the line for a message, and returns how long that has to wait.
  absl::Duration Take(ByteDirection direction, uint64_t encoded_bytes);
  // Calls `go` when a message of a transfer may be sent, or when one that was received is paid for; soon after `hurry` says so at the
  // latest.
  void Pace(ByteDirection direction, uint64_t encoded_bytes, std::function<bool()> hurry, std::function<void()> go);

 private:
  TokenBucket& Of(ByteDirection direction) { return direction == ByteDirection::kUp ? up_ : down_; }
  const TokenBucket& Of(ByteDirection direction) const { return direction == ByteDirection::kUp ? up_ : down_; }
  void WaitUntil(absl::Time time, std::function<bool()> hurry, std::function<void()> go);

  SerialExecutor* const executor_;
  Clock* const clock_;
  TokenBucket up_;
  TokenBucket down_;
  absl::Time remind_of_cap_at_ = absl::InfinitePast();
};

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_PACED_LINE_H_
