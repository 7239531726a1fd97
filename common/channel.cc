#include "common/channel.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace tributary {
namespace {

// Of gRPC's handshaker, which it has for its own reading of the environment: whom to CONNECT to, and "name:value" lines to say.
constexpr char kConnectServer[] = "grpc.http_connect_server";
constexpr char kConnectHeaders[] = "grpc.http_connect_headers";

}  // namespace

std::shared_ptr<grpc::Channel> MakeChannel(const std::string& address, const std::shared_ptr<grpc::ChannelCredentials>& credentials,
                                           const Route& route, grpc::ChannelArguments arguments) {
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET, 1u << GRPC_COMPRESS_NONE);
  // gRPC reads some of the variables, ignores what it does not understand, and would heed no_proxy against the configuration.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  if (!route.proxy.has_value()) {
    return grpc::CreateCustomChannel(address, credentials, arguments);
  }
  arguments.SetString(kConnectServer, address);
  if (!route.proxy->credentials.empty()) {
    arguments.SetString(kConnectHeaders, absl::StrCat("Proxy-Authorization:Basic ", absl::Base64Escape(route.proxy->credentials)));
  }
  // Whom the certificate must name: the coordinator, not the proxy.
  arguments.SetString(GRPC_ARG_DEFAULT_AUTHORITY, address);
  return grpc::CreateCustomChannel(route.proxy->address, credentials, arguments);
}

absl::Status ExplainConnectionFailure(const absl::Status& status, const std::string& address, const Route& route,
                                      const CertificatePair* own) {
  const absl::Status explained = ExplainProxyFailure(status, address, route);
  return explained != status || own == nullptr ? explained : ExplainTlsFailure(status, address, route, *own);
}

}  // namespace tributary
