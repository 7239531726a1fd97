#include "coordinator/guard/http2_watch.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace tributary::coordinator {
namespace {

constexpr absl::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

absl::Status TooMany(absl::string_view what) {
  return absl::ResourceExhaustedError(absl::StrCat("too many ", what, " on one connection"));
}

}  // namespace

// What the client sends.
struct Http2Watch::Up {
  Http2Watch& watch;
  absl::Time now;

  absl::Status Began(const Http2Frame& frame) const { return watch.Began(frame, now); }
  absl::Status Came(const Http2Frame& frame, absl::Span<const uint8_t> bytes) const {
    return frame.type == kHttp2Data ? watch.streams_open_.Came(frame.stream, bytes, now) : absl::OkStatus();
  }
  void Ended(const Http2Frame& frame) const {
    const bool may_end = frame.type == kHttp2Data || frame.type == kHttp2Headers;
    if (frame.type == kHttp2ResetStream || (may_end && (frame.flags & kHttp2EndStream) != 0)) {
      watch.streams_open_.End(frame.stream);
    }
  }
};

// What the server says.
struct Http2Watch::Down {
  Http2Watch& watch;

  absl::Status Began(const Http2Frame& /*frame*/) const { return absl::OkStatus(); }
  absl::Status Came(const Http2Frame& /*frame*/, absl::Span<const uint8_t> /*bytes*/) const { return absl::OkStatus(); }
  void Ended(const Http2Frame& frame) const { Up{watch, {}}.Ended(frame); }
};

absl::Status Http2Watch::Look(absl::Span<const uint8_t> bytes, absl::Time now) {
  const size_t size = std::min(bytes.size(), kPreface.size() - preface_);
  if (std::memcmp(bytes.data(), kPreface.data() + preface_, size) != 0) {
    return absl::InvalidArgumentError("what came is not HTTP/2");
  }
  preface_ += size;
  bytes.remove_prefix(size);
  return up_.Read(bytes, Up{*this, now});
}

bool Http2Watch::has_begun() const {
  return preface_ == kPreface.size();
}

void Http2Watch::LookDown(absl::Span<const uint8_t> bytes) {
  down_.Read(bytes, Down{*this}).IgnoreError();  // there are none
}

absl::Status Http2Watch::Began(const Http2Frame& frame, absl::Time now) {
  if (frame.length > kMaxFrameBytes && frame.type != kHttp2Data) {
    return absl::InvalidArgumentError(absl::StrCat("a frame of type ", frame.type, " of ", frame.length, " bytes"));
  }
  if (in_block_ != (frame.type == kHttp2Continuation)) {
    return absl::InvalidArgumentError(in_block_ ? "a header block is interrupted" : "a header block continues that never began");
  }
  switch (frame.type) {
    case kHttp2Headers:
      if (!granted_streams_.Take(now) && !streams_->TakeStream(now)) {
        return TooMany("streams");
      }
      streams_open_.Begin(frame.stream, now);
      return BeganHeaders(frame);
    case kHttp2Continuation:
      return BeganHeaders(frame);
    case kHttp2ResetStream:
      return granted_resets_.Take(now) || streams_->TakeReset(now) ? absl::OkStatus() : TooMany("resets");
    case kHttp2WindowUpdate:
      return windows_.Take(now) ? absl::OkStatus() : TooMany("window updates");
    case kHttp2Data:
      if ((frame.flags & kHttp2Padded) != 0) {
        return absl::InvalidArgumentError("data with padding, which no client of gRPC sends");
      }
      if (!data_.Take(now)) {
        return TooMany("frames of data");
      }
      if (frame.length > 0 || (frame.flags & kHttp2EndStream) != 0) {
        return absl::OkStatus();
      }
      break;
    case kHttp2PushPromise:
      return absl::InvalidArgumentError("a client may not push");
    default:  // of types that are not known, too: a receiver ignores those (RFC 9113, section 5.5)
      break;
  }
  return control_.Take(now) ? absl::OkStatus() : TooMany("control frames");
}

absl::Status Http2Watch::BeganHeaders(const Http2Frame& frame) {
  const bool continuation = frame.type == kHttp2Continuation;
  if (continuation && (frame.stream != block_stream_ || frame.length == 0)) {
    return absl::InvalidArgumentError("a header block continues on another stream, or with nothing");
  }
  block_stream_ = frame.stream;
  block_bytes_ = continuation ? block_bytes_ + frame.length : frame.length;
  in_block_ = (frame.flags & kHttp2EndHeaders) == 0;
  if (block_bytes_ > kMaxHeaderBytes) {
    return absl::ResourceExhaustedError(absl::StrCat("a header block of more than ", kMaxHeaderBytes, " bytes"));
  }
  return absl::OkStatus();
}

}  // namespace tributary::coordinator
