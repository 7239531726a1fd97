#include "coordinator/guard/http2_watch.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/status_macros.h"

namespace tributary::coordinator {
namespace {

constexpr absl::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

enum FrameType : uint8_t {
  kData = 0,
  kHeaders = 1,
  kPriority = 2,
  kResetStream = 3,
  kSettings = 4,
  kPushPromise = 5,
  kPing = 6,
  kGoAway = 7,
  kWindowUpdate = 8,
  kContinuation = 9,
};
constexpr uint8_t kEndStream = 0x1;
constexpr uint8_t kEndHeaders = 0x4;

absl::Status TooMany(absl::string_view what) {
  return absl::ResourceExhaustedError(absl::StrCat("too many ", what, " on one connection"));
}

}  // namespace

bool TokenBucket::Take(absl::Time now) {
  if (last_ != absl::InfinitePast()) {
    tokens_ = std::min(burst_, tokens_ + rate_ * absl::ToDoubleSeconds(now - last_));
  }
  last_ = now;
  if (tokens_ < 1) {
    return false;
  }
  tokens_ -= 1;
  return true;
}

absl::Status Http2Watch::Look(absl::Span<const uint8_t> bytes, absl::Time now) {
  while (!bytes.empty()) {
    if (preface_ < kPreface.size()) {
      const size_t size = std::min(bytes.size(), kPreface.size() - preface_);
      if (std::memcmp(bytes.data(), kPreface.data() + preface_, size) != 0) {
        return absl::InvalidArgumentError("what came is not HTTP/2");
      }
      preface_ += size;
      bytes.remove_prefix(size);
    } else if (payload_ > 0) {
      const size_t size = std::min(bytes.size(), payload_);
      payload_ -= size;
      bytes.remove_prefix(size);
    } else {
      const size_t size = std::min(bytes.size(), kFrameHeader - header_size_);
      std::memcpy(header_ + header_size_, bytes.data(), size);
      header_size_ += size;
      bytes.remove_prefix(size);
      if (header_size_ == kFrameHeader) {
        header_size_ = 0;
        TRIBUTARY_RETURN_IF_ERROR(LookAtFrame(now));
      }
    }
  }
  return absl::OkStatus();
}

absl::Status Http2Watch::LookAtFrame(absl::Time now) {
  const size_t length = size_t{header_[0]} << 16 | size_t{header_[1]} << 8 | header_[2];
  const uint8_t type = header_[3];
  const uint8_t flags = header_[4];
  if (length > kMaxFrameBytes && type != kData) {
    return absl::InvalidArgumentError(absl::StrCat("a frame of type ", type, " of ", length, " bytes"));
  }
  payload_ = length;
  if (in_block_ != (type == kContinuation)) {
    return absl::InvalidArgumentError(in_block_ ? "a header block is interrupted" : "a header block continues that never began");
  }
  switch (type) {
    case kHeaders:
      if (!streams_.Take(now)) {
        return TooMany("streams");
      }
      return LookAtHeaders(length, flags, /*continuation=*/false);
    case kContinuation:
      return LookAtHeaders(length, flags, /*continuation=*/true);
    case kResetStream:
      return resets_.Take(now) ? absl::OkStatus() : TooMany("resets");
    case kWindowUpdate:
      return windows_.Take(now) ? absl::OkStatus() : TooMany("window updates");
    case kData:
      if (!data_.Take(now)) {
        return TooMany("frames of data");
      }
      if (length > 0 || (flags & kEndStream) != 0) {
        return absl::OkStatus();
      }
      break;
    case kPushPromise:
      return absl::InvalidArgumentError("a client may not push");
    default:  // of types that are not known, too: a receiver ignores those (RFC 9113, section 5.5)
      break;
  }
  return control_.Take(now) ? absl::OkStatus() : TooMany("control frames");
}

absl::Status Http2Watch::LookAtHeaders(size_t length, uint8_t flags, bool continuation) {
  const uint32_t stream = (uint32_t{header_[5]} << 24 | uint32_t{header_[6]} << 16 | uint32_t{header_[7]} << 8 | header_[8]) & 0x7fffffff;
  if (continuation && (stream != block_stream_ || length == 0)) {
    return absl::InvalidArgumentError("a header block continues on another stream, or with nothing");
  }
  block_stream_ = stream;
  block_bytes_ = continuation ? block_bytes_ + length : length;
  in_block_ = (flags & kEndHeaders) == 0;
  if (block_bytes_ > kMaxHeaderBytes) {
    return absl::ResourceExhaustedError(absl::StrCat("a header block of more than ", kMaxHeaderBytes, " bytes"));
  }
  return absl::OkStatus();
}

}  // namespace tributary::coordinator
