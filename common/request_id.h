// An id that a caller makes up and both ends log, so that their lines can be joined: one for each command of an operator, and one for each
// session of a worker with the transfers beside it.
#ifndef TRIBUTARY_COMMON_REQUEST_ID_H_
#define TRIBUTARY_COMMON_REQUEST_ID_H_

#include <string>

namespace grpc {
class ServerContextBase;
}  // namespace grpc

namespace tributary {

// The metadata key that it travels under.
inline constexpr char kRequestIdKey[] = "x-request-id";

// 16 hexadecimal digits.
std::string NewRequestId();

// What the caller sent, if it is 1 to 64 of [A-Za-z0-9._-]; else "-".
std::string RequestIdOf(const grpc::ServerContextBase& context);

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_REQUEST_ID_H_
