#include "common/listening.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

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

absl::StatusOr<Listeners> Listen(const std::string& host_port) {
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
  Listeners listeners;
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (const int error = getaddrinfo(std::string(host).c_str(), host_port.c_str() + colon + 1, &hints, &found); error != 0) {
    return refused(gai_strerror(error));
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> addresses(found, &freeaddrinfo);
  for (const addrinfo* address = found; address != nullptr; address = address->ai_next) {
    OwnedDescriptor listener(socket(address->ai_family, address->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, address->ai_protocol));
    if (listener.get() < 0) {
      if (errno == EAFNOSUPPORT && (address->ai_next != nullptr || !listeners.sockets.empty())) {
        continue;  // a machine without IPv6 has a name for it nevertheless
      }
      return refused(std::strerror(errno));
    }
    sockaddr_storage own = {};
    std::memcpy(&own, address->ai_addr, address->ai_addrlen);
    // The second address of a host gets the port that the first was given. Both families have it at the same place.
    reinterpret_cast<sockaddr_in*>(&own)->sin_port =
        listeners.port == 0 ? reinterpret_cast<sockaddr_in*>(&own)->sin_port : htons(static_cast<uint16_t>(listeners.port));
    const int on = 1;
    const int off = 0;
    setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(listener.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    socklen_t size = sizeof own;
    if (bind(listener.get(), reinterpret_cast<sockaddr*>(&own), address->ai_addrlen) != 0 || listen(listener.get(), SOMAXCONN) != 0 ||
        getsockname(listener.get(), reinterpret_cast<sockaddr*>(&own), &size) != 0) {
      if (errno == EADDRNOTAVAIL && address->ai_family == AF_INET6 && (address->ai_next != nullptr || !listeners.sockets.empty())) {
        continue;
      }
      return errno == EADDRINUSE ? refused("another program is listening there; stop it, or choose another port")
                                 : refused(std::strerror(errno));
    }
    listeners.port = ntohs(reinterpret_cast<sockaddr_in*>(&own)->sin_port);
    listeners.sockets.push_back(std::move(listener));
  }
  return listeners.sockets.empty() ? absl::StatusOr<Listeners>(refused("it has no address here")) : std::move(listeners);
}

absl::Status ExplainListenFailure(const std::string& host_port) {
  return Listen(host_port).status();
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
