// Mutually authenticated TLS 1.3 for gRPC, and who the peer is.
//
// An identity is the certificate's single SPIFFE URI SAN: spiffe://FEDERATION/coordinator, /site/NAME, /operator/NAME or /auditor/NAME. It
// is read from the connection on every call; nothing in a message body is ever believed instead. Servers: coordinator/guard.
#ifndef TRIBUTARY_COMMON_TLS_H_
#define TRIBUTARY_COMMON_TLS_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/proxy.h"

namespace grpc {
class ChannelCredentials;
class ServerContextBase;
}  // namespace grpc

namespace tributary {

// Paths of PEM files.
struct TlsFiles {
  std::string ca;
  std::string certificate;
  std::string key;
};

// From when to when a certificate is accepted: `end` is the earliest in its chain up to the CA.
struct Validity {
  absl::Time begin;
  absl::Time end;

  // From a third of the lifetime before its end on: time to renew it.
  bool NearsEnd(absl::Time now) const { return end - now < (end - begin) / 3; }
};

// A certificate with its key, and the CA that it trusts, in PEM. Checked: certificate_files.h.
struct CertificatePair {
  std::string ca;
  std::string certificate;
  std::string key;
  Validity validity;
  // Whom it names, who issued it, until when: for messages.
  std::string description;
};

// Whether the certificate files on disk are the ones in use, or are not good (certificate_files.h).
enum class CertificateFilesState { kInUse, kRefused };

enum class Role { kCoordinator, kSite, kOperator, kAuditor };
// "coordinator", "site", "operator", "auditor": as in the identity.
absl::string_view RoleName(Role role);

struct Identity {
  std::string federation;
  Role role = Role::kSite;
  std::string name;  // empty for the coordinator
};

// InvalidArgument: not exactly one of the four forms above.
absl::StatusOr<Identity> ParseSpiffeId(absl::string_view uri);
std::string SpiffeId(const Identity& identity);

// Leaves TLS 1.3 as the only version this process speaks. Before the first use of gRPC.
void RequireTls13();

// What a person should do about a private key that any user of this machine can read; empty: not so.
std::string KeyExposure(const std::string& key);

// Why no connection over TLS to `address` by `route` came about, where the words of OpenSSL or gRPC in `status` tell: which side refused
// whose certificate, what that certificate says, and what to do. Unauthenticated with exit code kCredentials where a certificate is
// refused, which takes a person to mend, else Unavailable. Any other status as it is. `own`: the pair that was used. Blocks for up to
// kProbeTimeout if the server's certificate was refused: it asks the server for it once more.
absl::Status ExplainTlsFailure(const absl::Status& status, const std::string& address, const Route& route, const CertificatePair& own);
inline constexpr absl::Duration kProbeTimeout = absl::Seconds(3);

// The pair for the next handshake. Never null; called on any thread.
using CertificateSource = std::function<std::shared_ptr<const CertificatePair>()>;

// A client's credentials: with this pair and no other; make new ones, and a new channel, for a new pair.
std::shared_ptr<grpc::ChannelCredentials> MakeChannelCredentials(const CertificatePair& pair);

// Of a client that has no certificate yet: it trusts `ca` (PEM) alone, and the server must be the coordinator of `federation` at the name
// it is reached by.
std::shared_ptr<grpc::ChannelCredentials> MakeEnrolmentCredentials(const std::string& ca, const std::string& federation);

// Plaintext, for --insecure on loopback only.
std::shared_ptr<grpc::ChannelCredentials> MakeInsecureChannelCredentials();

// In plaintext there is no certificate: client and server agree on this metadata key, whose value is the SPIFFE id claimed.
inline constexpr char kInsecureIdentityKey[] = "x-tributary-insecure-identity";
// Trailing metadata of TransferService.Download: the coordinator's clock, milliseconds since 1970, for `doctor` to compare.
inline constexpr char kCoordinatorTimeKey[] = "x-tributary-unix-ms";

// The identity that these SPIFFE ids, of `what` (for messages: "the certificate"), stand for. Unauthenticated: none, not a SPIFFE id, or
// several; another federation.
absl::StatusOr<Identity> IdentityOf(const std::vector<std::string>& uris, absl::string_view what, absl::string_view federation);

// Who the caller says to be, in plaintext, where callers are believed: the metadata key above. Errors as IdentityOf's.
absl::StatusOr<Identity> ClaimedIdentity(const grpc::ServerContextBase& context, absl::string_view federation);

// OK if `host_port` names a loopback address (127.0.0.0/8, [::1], localhost); else InvalidArgument saying that --insecure needs
// --insecure-anywhere there.
absl::Status CheckInsecureAddress(absl::string_view host_port);

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_TLS_H_
