// Channels to the coordinator, the same for every program.
#ifndef TRIBUTARY_COMMON_CHANNEL_H_
#define TRIBUTARY_COMMON_CHANNEL_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/proxy.h"
#include "common/tls.h"

namespace grpc {
class Status;
class Channel;
class ChannelArguments;
class ChannelCredentials;
}  // namespace grpc

namespace tributary {

// Who calls the coordinator, and how.
struct Connection {
  std::string address;  // host:port
  Route route;
  bool insecure = false;
  TlsFiles files;
  CertificatePair tls;  // what they hold, checked; of no meaning with `insecure`
  Identity identity;
};

// A channel to `address` (host:port) by `route`, which connects when it is first used. It keeps its connection alive while calls are under
// way, takes no compressed message, which could be a bomb, and heeds no environment. `arguments`: what the caller wants besides.
std::shared_ptr<grpc::Channel> MakeChannel(const std::string& address, const std::shared_ptr<grpc::ChannelCredentials>& credentials,
                                           const Route& route, grpc::ChannelArguments arguments);

// Why there is no connection to `address` by `route`, where the proxy's answer or the words of the TLS handshake tell (ExplainProxyFailure,
// ExplainTlsFailure): blocks as the latter does. `own`: the pair that was used; null in plaintext.
absl::Status ExplainConnectionFailure(const absl::Status& status, const std::string& address, const Route& route,
                                      const CertificatePair* own);

// What a call that failed tells a person: the coordinator's address, the cause and what to check. OK stays OK; blocks as
// ExplainConnectionFailure does. `timeout`: what the call was given. Unavailable and DeadlineExceeded (exit code kUnreachable),
// Unauthenticated and PermissionDenied (kCredentials), FailedPrecondition and AlreadyExists (kUsage), others as they are.
absl::Status ExplainCallFailure(const grpc::Status& status, const Connection& connection, absl::Duration timeout);

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_CHANNEL_H_
