#include "common/channel.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>
#include <grpcpp/support/status.h>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "common/exit_codes.h"
#include "common/status_macros.h"

namespace tributary {
namespace {

// Of gRPC's handshaker, which it has for its own reading of the environment: whom to CONNECT to, and "name:value" lines to say.
constexpr char kConnectServer[] = "grpc.http_connect_server";
constexpr char kConnectHeaders[] = "grpc.http_connect_headers";

// The part of gRPC's message that says what happened: "ipv4:127.0.0.1:1: Failed to connect to remote host: Connection refused".
absl::string_view CauseOf(absl::string_view message) {
  constexpr absl::string_view kMark = "last error: ";
  if (const size_t mark = message.find(kMark); mark != absl::string_view::npos) {
    message.remove_prefix(mark + kMark.size());
  }
  if (!absl::ConsumePrefix(&message, "UNKNOWN: ")) {
    absl::ConsumePrefix(&message, "UNAVAILABLE: ");
  }
  return message;
}

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

absl::Status ExplainCallFailure(const grpc::Status& status, const Connection& connection, absl::Duration timeout) {
  if (status.ok()) {
    return absl::OkStatus();
  }
  const std::string cause(CauseOf(status.error_message()));
  const std::string address = DescribeDestination(connection.address, connection.route);
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE: {
      const absl::Status failed = absl::UnavailableError(status.error_message());
      const absl::Status explained =
          ExplainConnectionFailure(failed, connection.address, connection.route, connection.insecure ? nullptr : &connection.tls);
      if (explained != failed) {
        return Annotate(explained, absl::StrCat("cannot reach the coordinator at ", address));
      }
      return absl::UnavailableError(
          absl::StrCat("cannot reach the coordinator at ", address, ": ", cause,
                       "; check that it is running, the address and port, and that firewalls allow the connection"));
    }
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return absl::DeadlineExceededError(absl::StrCat("no answer from the coordinator at ", address, " within ",
                                                      absl::FormatDuration(timeout), "; check the network and whether it is overloaded"));
    case grpc::StatusCode::UNIMPLEMENTED:
      return absl::UnimplementedError(
          absl::StrCat("the coordinator at ", address, " does not know this call; upgrade it, or use the command of its release"));
    case grpc::StatusCode::ALREADY_EXISTS:
    case grpc::StatusCode::FAILED_PRECONDITION:
      // What was asked does not fit how things stand.
      return WithExitCode(absl::Status(static_cast<absl::StatusCode>(status.error_code()), cause), ExitCode::kUsage);
    default:
      return absl::Status(static_cast<absl::StatusCode>(status.error_code()), cause);
  }
}

}  // namespace tributary
