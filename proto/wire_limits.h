// Sizes that both ends of the conversation hold each other to.
#ifndef TRIBUTARY_PROTO_WIRE_LIMITS_H_
#define TRIBUTARY_PROTO_WIRE_LIMITS_H_

#include <cstdint>

namespace tributary {

// Of one encoded message; gRPC refuses a longer one. Bulk travels in frames, and what goes inline is bounded by max_inline (at most 3 MiB).
inline constexpr int kMaxMessageBytes = 4 << 20;
// Data of one UploadFrame or DownloadFrame (transfer.proto).
inline constexpr uint64_t kMaxFrameBytes = uint64_t{1} << 20;

}  // namespace tributary

#endif  // TRIBUTARY_PROTO_WIRE_LIMITS_H_
