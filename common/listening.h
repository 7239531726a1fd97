// Addresses to listen on.
#ifndef TRIBUTARY_COMMON_LISTENING_H_
#define TRIBUTARY_COMMON_LISTENING_H_

#include <string>

#include "absl/status/status.h"

namespace tributary {

// Binds and closes `host_port` to learn why a server could not: InvalidArgument, exit code kUsage, says why (in use, not of this machine,
// not permitted). OK if nothing speaks against it now.
absl::Status ExplainListenFailure(const std::string& host_port);

// The part of "host:port" or "[v6]:port" before the last colon, as it is.
std::string HostOf(const std::string& host_port);

// That `address`, the value of `status_listen`, is one of this machine alone. InvalidArgument, exit code kUsage, with what to do.
absl::Status CheckStatusAddress(const std::string& address);

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_LISTENING_H_
