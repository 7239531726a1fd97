// Version of the conversation between worker, operator and coordinator (proto/tributary/v1). Peers of another version are refused.
#ifndef TRIBUTARY_PROTO_PROTOCOL_VERSION_H_
#define TRIBUTARY_PROTO_PROTOCOL_VERSION_H_

#include <cstdint>

namespace tributary {

inline constexpr uint32_t kProtocolVersion = 1;

}  // namespace tributary

#endif  // TRIBUTARY_PROTO_PROTOCOL_VERSION_H_
