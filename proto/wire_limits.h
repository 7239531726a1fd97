// Sizes that both ends of the conversation hold each other to.
#ifndef TRIBUTARY_PROTO_WIRE_LIMITS_H_
#define TRIBUTARY_PROTO_WIRE_LIMITS_H_

#include <cstdint>

namespace tributary {

// Of one encoded message; gRPC refuses a longer one. Bulk travels in frames.
inline constexpr int kMaxMessageBytes = 4 << 20;
// Of an update or a commit that travels inside a message on the session; the rest of the message is room for its other fields. The bound of
// max_inline (config.proto).
inline constexpr uint64_t kMaxInlineBytes = uint64_t{3} << 20;
// Data of one UploadFrame or DownloadFrame (transfer.proto).
inline constexpr uint64_t kMaxFrameBytes = uint64_t{1} << 20;

}  // namespace tributary

#endif  // TRIBUTARY_PROTO_WIRE_LIMITS_H_
