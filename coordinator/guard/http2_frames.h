// Cuts one direction of an HTTP/2 connection into frames (RFC 9113, section 4.1).
#ifndef TRIBUTARY_COORDINATOR_GUARD_HTTP2_FRAMES_H_
#define TRIBUTARY_COORDINATOR_GUARD_HTTP2_FRAMES_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "common/status_macros.h"

namespace tributary::coordinator {

// RFC 9113, section 6.
enum Http2FrameType : uint8_t {
  kHttp2Data = 0,
  kHttp2Headers = 1,
  kHttp2Priority = 2,
  kHttp2ResetStream = 3,
  kHttp2Settings = 4,
  kHttp2PushPromise = 5,
  kHttp2Ping = 6,
  kHttp2GoAway = 7,
  kHttp2WindowUpdate = 8,
  kHttp2Continuation = 9,
};
inline constexpr uint8_t kHttp2EndStream = 0x1;
inline constexpr uint8_t kHttp2EndHeaders = 0x4;
inline constexpr uint8_t kHttp2Padded = 0x8;

struct Http2Frame {
  size_t length = 0;
  uint8_t type = 0;
  uint8_t flags = 0;
  uint32_t stream = 0;
};

// Keeps nothing of the frames but the header of the one under way. Not thread-safe.
class Http2FrameReader {
 public:
  // Of each frame: handler.Began(frame) when its header is whole, handler.Came(frame, bytes) for each piece of what is in it, and
  // handler.Ended(frame). The first error of the first two ends the reading, and is returned.
  template <typename Handler>
  absl::Status Read(absl::Span<const uint8_t> bytes, const Handler& handler) {
    while (!bytes.empty()) {
      if (left_ > 0) {
        const size_t size = std::min(bytes.size(), left_);
        TRIBUTARY_RETURN_IF_ERROR(handler.Came(frame_, bytes.subspan(0, size)));
        left_ -= size;
        bytes.remove_prefix(size);
      } else {
        const size_t size = std::min(bytes.size(), header_.size() - header_size_);
        std::copy_n(bytes.begin(), size, header_.begin() + header_size_);
        header_size_ += size;
        bytes.remove_prefix(size);
        if (header_size_ < header_.size()) {
          break;
        }
        header_size_ = 0;
        frame_ = {size_t{header_[0]} << 16 | size_t{header_[1]} << 8 | header_[2], header_[3], header_[4],
                  (uint32_t{header_[5]} << 24 | uint32_t{header_[6]} << 16 | uint32_t{header_[7]} << 8 | header_[8]) & 0x7fffffff};
        left_ = frame_.length;
        TRIBUTARY_RETURN_IF_ERROR(handler.Began(frame_));
      }
      if (left_ == 0) {
        handler.Ended(frame_);
      }
    }
    return absl::OkStatus();
  }

 private:
  std::array<uint8_t, 9> header_ = {};
  size_t header_size_ = 0;  // bytes of it seen
  Http2Frame frame_;
  size_t left_ = 0;  // bytes of the frame still to come
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_GUARD_HTTP2_FRAMES_H_
