#include "common/listening.h"

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "common/exit_codes.h"
#include "common/names.h"
#include "common/status_macros.h"

namespace tributary {

std::string HostOf(const std::string& host_port) {
  const size_t colon = host_port.rfind(':');
  return colon == std::string::npos ? host_port : host_port.substr(0, colon);
}

absl::Status ExplainListenFailure(const std::string& host_port) {
  const auto refused = [&](absl::string_view why) {
    return WithExitCode(absl::InvalidArgumentError(absl::StrCat("cannot listen on ", host_port, ": ", why)), ExitCode::kUsage);
  };
  const size_t colon = host_port.rfind(':');
  if (colon == std::string::npos) {
    return refused("it is not HOST:PORT");
  }
  absl::string_view host(host_port.data(), colon);
  absl::ConsumePrefix(&host, "[");
  absl::ConsumeSuffix(&host, "]");
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (const int error = getaddrinfo(std::string(host).c_str(), host_port.c_str() + colon + 1, &hints, &found); error != 0) {
    return refused(gai_strerror(error));
  }
  absl::Status status;
  for (const addrinfo* address = found; address != nullptr && status.ok(); address = address->ai_next) {
    const int listener = socket(address->ai_family, address->ai_socktype | SOCK_CLOEXEC, address->ai_protocol);
    const int reuse = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof reuse);
    if (listener < 0 || bind(listener, address->ai_addr, address->ai_addrlen) != 0 || listen(listener, 1) != 0) {
      status = errno == EADDRINUSE ? refused("another program is listening there; stop it, or choose another port")
                                   : refused(std::strerror(errno));
    }
    if (listener >= 0) {
      close(listener);
    }
  }
  freeaddrinfo(found);
  return status;
}

absl::Status CheckStatusAddress(const std::string& address) {
  TRIBUTARY_RETURN_IF_ERROR(CheckHostPort(address, /*least_port=*/0));
  if (!IsLoopback(address)) {
    return WithExitCode(
        absl::InvalidArgumentError(
            absl::StrCat("'", address, "' is not an address of this machine alone, and the page asks nobody who they are; write 127.0.0.1:",
                         address.substr(address.rfind(':') + 1), ", and reach it from elsewhere by ssh -L")),
        ExitCode::kUsage);
  }
  return absl::OkStatus();
}

}  // namespace tributary
