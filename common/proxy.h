// The way to the coordinator: straight, or through an HTTP proxy that makes a tunnel to it (CONNECT).
//
// What the configuration says comes first; then, but never to this machine itself, what the environment says.
#ifndef TRIBUTARY_COMMON_PROXY_H_
#define TRIBUTARY_COMMON_PROXY_H_

#include <map>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tributary {

// In a configuration: no proxy, whatever the environment says.
inline constexpr absl::string_view kNoProxy = "none";

struct HttpProxy {
  std::string address;      // host:port
  std::string credentials;  // "user:password" as they are, not to be shown; empty: none
  std::string source;       // where it is set, for people: "HTTPS_PROXY in the environment"
};

struct Route {
  std::optional<HttpProxy> proxy;
  // "through the proxy http://proxy.example:3128 (HTTPS_PROXY in the environment)", "directly (no_proxy in the environment names it)".
  std::string how = "directly";
};

// The variables of a process's environment that speak of proxies, by name.
using ProxyEnvironment = std::map<std::string, std::string>;
// Of `variables`, which are as in environ.
ProxyEnvironment ProxyEnvironmentOf(const char* const* variables);

// The way to `address` (host:port, checked). `configured` is the configuration's `proxy`: http://[USER[:PASSWORD]@]HOST:PORT, with %XX for
// special characters; kNoProxy; or empty, and the environment decides:
//   - straight to this machine itself (localhost, 127.0.0.0/8, [::1]) and to what no_grpc_proxy or else no_proxy names (a host, a domain,
//     an address or network, each with or without :port, or *);
//   - else through the first that is set of grpc_proxy, https_proxy, http_proxy.
// Each variable counts in lower case, else in upper case; an empty one is as if unset.
// InvalidArgument: not such a URL; says where it is set and what was meant, without the password.
absl::StatusOr<Route> ChooseRoute(const std::string& address, const std::string& configured, const ProxyEnvironment& environment);

// `address` with the way to it, if that is not the straight one: what messages call the coordinator.
std::string DescribeDestination(const std::string& address, const Route& route);

// Why the proxy made no tunnel to `address`, where gRPC's words in `status` tell its answer: Unavailable, with what to do; which proxy it
// is, DescribeDestination tells. Any other status as it is.
absl::Status ExplainProxyFailure(const absl::Status& status, const std::string& address, const Route& route);

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_PROXY_H_
