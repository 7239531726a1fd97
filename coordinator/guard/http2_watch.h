// What a client does inside HTTP/2, counted: gRPC 1.51 has no budget of its own for resets, pings or endless headers.
#ifndef TRIBUTARY_COORDINATOR_GUARD_HTTP2_WATCH_H_
#define TRIBUTARY_COORDINATOR_GUARD_HTTP2_WATCH_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/rate_limit.h"
#include "coordinator/guard/http2_frames.h"
#include "coordinator/guard/message_budget.h"
#include "coordinator/guard/open_streams.h"
#include "coordinator/guard/stream_budget.h"

namespace tributary::coordinator {

// Reads both directions of one connection, after TLS: what a client does is counted and bounded; of what the server says only the ends of
// streams matter. Keeps nothing of the frames. Frames as in RFC 9113, sections 3.4, 4.1 and 6. Not thread-safe.
class Http2Watch {
 public:
  // Of one header block, compressed. gRPC's own bound acts only when the block is whole.
  static constexpr size_t kMaxHeaderBytes = 32 << 10;
  // Of a frame that is not data. How long data frames may be, gRPC agrees on with the client, and holds it to.
  static constexpr size_t kMaxFrameBytes = 16 << 10;

  // What it shares with the other connections of its identity.
  explicit Http2Watch(std::shared_ptr<MessageBudget> messages, std::shared_ptr<StreamBudget> streams = std::make_shared<StreamBudget>())
      : streams_open_(std::move(messages)), streams_(std::move(streams)) {}

  // What the client sent. InvalidArgument: not HTTP/2, or not as a client may speak it. ResourceExhausted: more of something than any
  // worker needs; the message says of what. After an error the connection is to be closed.
  absl::Status Look(absl::Span<const uint8_t> bytes, absl::Time now);
  // What the server is about to say.
  void LookDown(absl::Span<const uint8_t> bytes);
  // Whether the client has begun as one of HTTP/2 does.
  bool has_begun() const;
  // From time to time. ResourceExhausted: a message should have come by now.
  absl::Status LookAtTime(absl::Time now) const { return streams_open_.Look(now); }

 private:
  struct Up;
  struct Down;

  absl::Status Began(const Http2Frame& frame, absl::Time now);
  absl::Status BeganHeaders(const Http2Frame& frame);

  size_t preface_ = 0;  // bytes of it seen
  Http2FrameReader up_;
  Http2FrameReader down_;
  OpenStreams streams_open_;
  // Of the header block under way.
  bool in_block_ = false;
  uint32_t block_stream_ = 0;
  size_t block_bytes_ = 0;

  const std::shared_ptr<StreamBudget> streams_;
  RateLimit granted_streams_{StreamBudget::kGrantedStreams};
  RateLimit granted_resets_{StreamBudget::kGrantedResets};
  // Pings, settings, priorities, empty frames: what costs an answer or a wake-up and moves nothing.
  static constexpr RateLimit::Options kControl = {200, 2000};
  RateLimit control_{kControl};
  // One for each 16 KiB at 1.6 GB/s.
  static constexpr RateLimit::Options kWindows = {100'000, 200'000};
  RateLimit windows_{kWindows};
  static constexpr RateLimit::Options kData = {100'000, 200'000};
  RateLimit data_{kData};
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_GUARD_HTTP2_WATCH_H_
