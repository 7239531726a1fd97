#include "worker/paced_line.h"

#include <algorithm>
#include <utility>

#include "common/log.h"
#include "common/wire_size.h"

namespace tributary::worker {
namespace {

// How often a transfer that waits for its turn on the line looks up.
constexpr absl::Duration kPaceStep = absl::Milliseconds(200);
constexpr absl::Duration kCapReminder = absl::Minutes(10);

}  // namespace

PacedLine::PacedLine(uint64_t up_rate, uint64_t down_rate, SerialExecutor* executor, Clock* clock)
    : executor_(executor), clock_(clock), up_(up_rate), down_(down_rate) {}

uint64_t PacedLine::FrameBytes(uint64_t bytes) const {
  return up_.limited() ? std::clamp<uint64_t>(up_.rate() / 4, 1, bytes) : bytes;
}

void PacedLine::Charge(ByteDirection direction, uint64_t encoded_bytes) {
  const absl::Time now = clock_->Now();
  TokenBucket& line = Of(direction);
  if (line.Charge(WireSize(encoded_bytes), now) || now < remind_of_cap_at_) {
    return;
  }
  remind_of_cap_at_ = now + kCapReminder;
  LogWarning("worker", "bandwidth.", direction == ByteDirection::kUp ? "up" : "down",
             ": messages on the session, mostly commits, take more than three quarters of the ", line.rate(),
             " bytes a second allowed, and cannot be delayed; raise the cap, or ask for a lower budget of the run");
}

absl::Duration PacedLine::Take(ByteDirection direction, uint64_t encoded_bytes) {
  const absl::Time now = clock_->Now();
  return Of(direction).Take(WireSize(encoded_bytes), now) - now;
}

void PacedLine::Pace(ByteDirection direction, uint64_t encoded_bytes, std::function<bool()> hurry, std::function<void()> go) {
  TokenBucket& line = Of(direction);
  const absl::Time now = clock_->Now();
  absl::Time time = line.Take(WireSize(encoded_bytes), now);
  // What was received is paid for before the next is read.
  if (direction == ByteDirection::kDown) {
    time = line.Take(0, now);
  }
  WaitUntil(time, std::move(hurry), std::move(go));
}

void PacedLine::WaitUntil(absl::Time time, std::function<bool()> hurry, std::function<void()> go) {
  const absl::Duration wait = time - clock_->Now();
  if (wait <= absl::ZeroDuration() || hurry()) {
    return go();
  }
  executor_->PostAfter(std::min(wait, kPaceStep), [this, time, hurry = std::move(hurry), go = std::move(go)]() mutable {
    WaitUntil(time, std::move(hurry), std::move(go));
  });
}

}  // namespace tributary::worker
