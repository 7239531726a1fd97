// Who may call what. Asked on every call: a certificate alone says who someone is, the lists of sites and operators whether they still
// belong.
#ifndef TRIBUTARY_COORDINATOR_RPC_AUTHORISATION_H_
#define TRIBUTARY_COORDINATOR_RPC_AUTHORISATION_H_

#include <mutex>
#include <optional>
#include <set>
#include <string>

#include "absl/status/statusor.h"
#include "common/tls.h"
#include "coordinator/guard/peer_table.h"
#include "coordinator/site_registry.h"
#include "tributary/v1/config.pb.h"

namespace grpc {
class ServerContextBase;
}  // namespace grpc

namespace tributary::coordinator {

// How the server is reached. In plaintext (--insecure) callers say themselves who they are, and are believed.
enum class Transport { kMutualTls, kPlaintext };

// Thread-safe.
class Authorisation {
 public:
  // `peers`: who is behind a connection. It and `sites` must outlive it.
  Authorisation(const v1::CoordinatorConfig& config, const SiteRegistry* sites, const PeerTable* peers, Transport transport);

  // The caller's site or operator name. Unauthenticated: no valid identity. PermissionDenied: an identity of another role, or a name that
  // is not in its list; the message says what to change.
  absl::StatusOr<std::string> Site(const grpc::ServerContextBase& context) const;
  absl::StatusOr<std::string> Operator(const grpc::ServerContextBase& context) const;
  // Either of the two.
  absl::StatusOr<Identity> SiteOrOperator(const grpc::ServerContextBase& context) const;
  // Who is behind the caller's connection. Absent: it is gone.
  std::optional<Peer> PeerOf(const grpc::ServerContextBase& context) const;
  // The site or operator that a certificate names. Errors as SiteOrOperator.
  absl::StatusOr<Identity> SiteOrOperator(const Peer& peer) const;
  // OK: the site is on the list; else as Site.
  absl::Status Listed(const std::string& site) const;

  // Replaces the list of operators. Calls under way go on.
  void SetOperators(std::set<std::string> operators);

 private:
  // Errors as SiteOrOperator.
  absl::StatusOr<Identity> Known(Identity identity) const;

  const std::string federation_;
  const SiteRegistry* const sites_;
  const PeerTable* const peers_;
  const Transport transport_;
  mutable std::mutex mutex_;
  std::set<std::string> operators_;  // under mutex_
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_RPC_AUTHORISATION_H_
