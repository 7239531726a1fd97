// Versions of the conversation between worker, operator and coordinator (proto/tributary/v1).
//
// A program speaks every version from its oldest to its newest; two of them talk in the newest that both speak. A version counts what would
// change the meaning of something that is already said. What can merely be added is a capability (proto/config/capabilities.h).
#ifndef TRIBUTARY_PROTO_PROTOCOL_VERSION_H_
#define TRIBUTARY_PROTO_PROTOCOL_VERSION_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace tributary {

inline constexpr uint32_t kOldestProtocolVersion = 1;
inline constexpr uint32_t kNewestProtocolVersion = 1;

// One side of a conversation.
struct ProtocolSpeaker {
  std::string name;  // for messages, with its release: "this coordinator (0.1.0)"
  uint32_t oldest = kOldestProtocolVersion;
  uint32_t newest = kNewestProtocolVersion;  // below `oldest`: a release that knew `oldest` alone, and said no more
};

// "1", or "1 to 3".
std::string FormatProtocol(const ProtocolSpeaker& speaker);

// The newest version that both speak. FailedPrecondition: none; names both sides, what each speaks, and which of them to upgrade.
absl::StatusOr<uint32_t> NegotiateProtocol(const ProtocolSpeaker& here, const ProtocolSpeaker& there);

}  // namespace tributary

#endif  // TRIBUTARY_PROTO_PROTOCOL_VERSION_H_
