// Mutually authenticated TLS 1.3 for gRPC, and who the peer is.
//
// An identity is the certificate's single SPIFFE URI SAN: spiffe://FEDERATION/coordinator, /site/NAME or /operator/NAME. It is read from
// the connection on every call; nothing in a message body is ever believed instead.
#ifndef TRIBUTARY_COMMON_TLS_H_
#define TRIBUTARY_COMMON_TLS_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace grpc {
class ChannelCredentials;
class ServerContextBase;
class ServerCredentials;
}  // namespace grpc

namespace tributary {

// Paths of PEM files.
struct TlsFiles {
  std::string ca;
  std::string certificate;
  std::string key;
};

enum class Role { kCoordinator, kSite, kOperator };

struct Identity {
  std::string federation;
  Role role = Role::kSite;
  std::string name;  // empty for the coordinator
};

// InvalidArgument: not exactly one of the three forms above.
absl::StatusOr<Identity> ParseSpiffeId(absl::string_view uri);
std::string SpiffeId(const Identity& identity);

// Leaves TLS 1.3 as the only version this process speaks. Before the first use of gRPC.
void RequireTls13();

// Checks the three files before any connection is tried: they exist, parse, belong together, are within their validity at `now`, chain
// to the CA, and name `expected`. Unauthenticated with exit code kCredentials says which check failed, with dates, paths and what to do.
absl::Status CheckTlsFiles(const TlsFiles& files, const Identity& expected);

// What a person should do about a private key that any user of this machine can read; empty: not so.
std::string KeyExposure(const std::string& key);

// Why no connection over TLS came about, where the words of OpenSSL, BoringSSL or gRPC in `status` tell, and what to check: Unauthenticated
// with exit code kCredentials where one side refuses the other's certificate and will refuse it again, else Unavailable. Any other status
// as it is.
absl::Status ExplainTlsFailure(const absl::Status& status);

// Credentials that follow the files when they change. Call CheckTlsFiles first.
std::shared_ptr<grpc::ServerCredentials> MakeServerCredentials(const TlsFiles& files);
std::shared_ptr<grpc::ChannelCredentials> MakeChannelCredentials(const TlsFiles& files);

// Plaintext, for --insecure on loopback only.
std::shared_ptr<grpc::ServerCredentials> MakeInsecureServerCredentials();
std::shared_ptr<grpc::ChannelCredentials> MakeInsecureChannelCredentials();

// In plaintext there is no certificate: client and server agree on this metadata key, whose value is the SPIFFE id claimed.
inline constexpr char kInsecureIdentityKey[] = "x-tributary-insecure-identity";

// How a server is reached. In plaintext (--insecure) callers say themselves who they are, and are believed.
enum class Transport { kMutualTls, kPlaintext };

// The caller's identity: of the certificate, or in plaintext of the metadata key above. Unauthenticated: none, no SPIFFE URI or several,
// another federation.
absl::StatusOr<Identity> PeerIdentity(const grpc::ServerContextBase& context, absl::string_view federation, Transport transport);

// OK if `host_port` names a loopback address (127.0.0.0/8, [::1], localhost); else InvalidArgument saying that --insecure needs
// --insecure-anywhere there.
absl::Status CheckInsecureAddress(absl::string_view host_port);

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_TLS_H_
