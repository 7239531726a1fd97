// The streams of one connection, and the messages on their way in them.
#ifndef TRIBUTARY_COORDINATOR_GUARD_OPEN_STREAMS_H_
#define TRIBUTARY_COORDINATOR_GUARD_OPEN_STREAMS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "coordinator/guard/message_budget.h"

namespace tributary::coordinator {

// Reads the gRPC messages that a client sends: one byte that says whether it is compressed, four of its length, and the message (gRPC over
// HTTP/2, "Length-Prefixed-Message"). Keeps nothing of them. Not thread-safe.
class OpenStreams {
 public:
  // For a call's first message to begin, and for each to come to its end. Long, for a coordinator that is busy does not read on, and a line
  // may be slow; what is held meanwhile is bounded.
  static constexpr absl::Duration kPatience = absl::Minutes(10);
  // A message is given that much and the time it takes at so many bytes a second.
  static constexpr uint64_t kSlowest = 1 << 10;

  explicit OpenStreams(std::shared_ptr<MessageBudget> budget) : budget_(std::move(budget)) {}
  ~OpenStreams();
  OpenStreams(const OpenStreams&) = delete;
  OpenStreams& operator=(const OpenStreams&) = delete;

  // A call has begun. No effect on one that is open.
  void Begin(uint32_t stream, absl::Time now);
  // ResourceExhausted: more than the budget allows. What comes for a stream that is not open is nobody's concern: gRPC drops it, too.
  absl::Status Came(uint32_t stream, absl::Span<const uint8_t> bytes, absl::Time now);
  // By either side.
  void End(uint32_t stream);

  // ResourceExhausted: a message should have come by now.
  absl::Status Look(absl::Time now) const;

 private:
  struct Stream {
    std::array<uint8_t, 5> prefix;
    size_t prefix_size = 0;  // bytes of it seen
    uint64_t left = 0;       // bytes of the message still to come
    uint64_t held = 0;       // bytes of the message that came
    absl::Time due;          // of what is awaited
  };

  void GiveBack(uint64_t bytes);

  std::shared_ptr<MessageBudget> budget_;
  uint64_t held_ = 0;  // by all streams
  std::map<uint32_t, Stream> streams_;
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_GUARD_OPEN_STREAMS_H_
