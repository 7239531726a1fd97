// The CA that vouches for the coordinator, named by a fingerprint: for those who are to trust it and have nothing else yet.
#ifndef TRIBUTARY_COMMON_PINNED_CA_H_
#define TRIBUTARY_COMMON_PINNED_CA_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/checksum.h"
#include "common/proxy.h"
#include "common/tls.h"

namespace tributary {

// SHA-256 of the certificate (DER) at which the chain of the pair's certificate ends. Unauthenticated, exit code kCredentials: it does not
// chain to the pair's CA.
absl::StatusOr<Digest> AnchorFingerprint(const CertificatePair& pair);

// OK: the CA certificates `roots` (PEM) vouch for the first certificate of `chain` (PEM), with the others of it as intermediates.
// Unauthenticated, exit code kCredentials, says why not; `path` names the chain in it.
absl::Status CheckVouchedFor(absl::string_view chain, absl::string_view path, absl::string_view roots);

// What a coordinator presents to whoever has no certificate yet.
struct PinnedCoordinator {
  std::string ca;  // PEM: the CA that has the fingerprint
  std::string federation;
};
// Asks the server at `host_port` for its chain. Unavailable: nobody answers. Unauthenticated, exit code kCredentials: no certificate of the
// chain has the fingerprint, or the first is no coordinator's. Nothing is proven yet: a connection that trusts this CA alone proves it.
// Blocks as AskForCertificate does.
absl::StatusOr<PinnedCoordinator> AskForPinnedCoordinator(const std::string& host_port, const Route& route, const Digest& ca,
                                                          absl::Duration timeout);

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_PINNED_CA_H_
