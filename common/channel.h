// Channels to the coordinator, the same for every program.
#ifndef TRIBUTARY_COMMON_CHANNEL_H_
#define TRIBUTARY_COMMON_CHANNEL_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "common/proxy.h"
#include "common/tls.h"

namespace grpc {
class Channel;
class ChannelArguments;
class ChannelCredentials;
}  // namespace grpc

namespace tributary {

// A channel to `address` (host:port) by `route`, which connects when it is first used. It keeps its connection alive while calls are under
// way, takes no compressed message, which could be a bomb, and heeds no environment. `arguments`: what the caller wants besides.
std::shared_ptr<grpc::Channel> MakeChannel(const std::string& address, const std::shared_ptr<grpc::ChannelCredentials>& credentials,
                                           const Route& route, grpc::ChannelArguments arguments);

// Why there is no connection to `address` by `route`, where the proxy's answer or the words of the TLS handshake tell (ExplainProxyFailure,
// ExplainTlsFailure): blocks as the latter does. `own`: the pair that was used; null in plaintext.
absl::Status ExplainConnectionFailure(const absl::Status& status, const std::string& address, const Route& route,
                                      const CertificatePair* own);

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_CHANNEL_H_
