// Addresses to listen on.
#ifndef TRIBUTARY_COMMON_LISTENING_H_
#define TRIBUTARY_COMMON_LISTENING_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/owned_descriptor.h"

namespace tributary {

struct Listeners {
  std::vector<OwnedDescriptor> sockets;  // that do not block; one for each address of the host
  int port = 0;
};
// Listens on `host_port`; port 0: any that is free. A wildcard IPv6 address takes IPv4 too. InvalidArgument, exit code kUsage, says why not
// (in use, not of this machine, not permitted).
absl::StatusOr<Listeners> Listen(const std::string& host_port);

// Listens and stops again, to learn why a server could not: Listen's error, or OK if nothing speaks against it now.
absl::Status ExplainListenFailure(const std::string& host_port);

// The part of "host:port" or "[v6]:port" before the last colon, as it is.
std::string HostOf(const std::string& host_port);

// That `address`, the value of `status_listen`, is one of this machine alone. InvalidArgument, exit code kUsage, with what to do.
absl::Status CheckStatusAddress(const std::string& address);

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_LISTENING_H_
