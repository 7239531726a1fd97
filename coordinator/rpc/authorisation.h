// Who may call what. Asked on every call: a certificate alone says who someone is, the lists of sites, operators and auditors whether they
// still belong.
#ifndef TRIBUTARY_COORDINATOR_RPC_AUTHORISATION_H_
#define TRIBUTARY_COORDINATOR_RPC_AUTHORISATION_H_

#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>

#include "absl/status/statusor.h"
#include "common/rare_line.h"
#include "common/tls.h"
#include "coordinator/guard/peer_table.h"
#include "coordinator/guard/pinned_authorities.h"
#include "coordinator/metrics.h"
#include "coordinator/site_registry.h"
#include "tributary/v1/config.pb.h"

namespace grpc {
class ServerContextBase;
}  // namespace grpc

namespace tributary::coordinator {

// How the server is reached. In plaintext (--insecure) callers say themselves who they are, and are believed.
enum class Transport { kMutualTls, kPlaintext };

// People who call, by name.
struct Staff {
  std::set<std::string> operators;
  std::set<std::string> auditors;
};
Staff StaffOf(const v1::CoordinatorConfig& config);

// Counts every call that it refuses, and logs the first of each kind. Thread-safe.
class Authorisation {
 public:
  // `peers`: who is behind a connection. `authorities`: which CA may speak for whom; null: the trusted one for everybody. All must outlive
  // it.
  Authorisation(const v1::CoordinatorConfig& config, const SiteRegistry* sites, const PeerTable* peers,
                const PinnedAuthorities* authorities, CoordinatorMetrics* metrics, Transport transport);

  // The caller's name. Unauthenticated: no valid identity. PermissionDenied: an identity of another role, or a name that
  // is not in its list; the message says what to change.
  absl::StatusOr<std::string> Site(const grpc::ServerContextBase& context) const;
  absl::StatusOr<std::string> Operator(const grpc::ServerContextBase& context) const;
  // Either of the two.
  absl::StatusOr<Identity> SiteOrOperator(const grpc::ServerContextBase& context) const;
  // Whoever may look at runs: an operator or an auditor.
  absl::StatusOr<std::string> Onlooker(const grpc::ServerContextBase& context) const;
  // The secret that the caller presents (common/worker_secret.h); empty: none.
  static std::string WorkerSecretOf(const grpc::ServerContextBase& context);
  // Who is behind the caller's connection. Absent: it is gone.
  std::optional<Peer> PeerOf(const grpc::ServerContextBase& context) const;
  const std::string& federation() const { return federation_; }
  // OK: the certificate names somebody on one of the lists. Errors as above.
  absl::Status Belongs(const Peer& peer) const;
  // Whether the certificate names a site that belongs.
  bool IsSite(const Peer& peer) const;
  // OK: the site belongs, with one certificate or another; else as Site.
  absl::Status Listed(const std::string& site) const;

  // Replaces the lists of operators and auditors. Calls under way go on.
  void SetStaff(Staff staff);

 private:
  // Whoever calls, if on one of the lists.
  absl::StatusOr<Identity> Caller(const grpc::ServerContextBase& context) const;
  // Whoever the certificate names, on a list or not.
  absl::StatusOr<Identity> Named(const Peer& peer) const;
  absl::StatusOr<Identity> Known(Identity identity, absl::Time certificate_begin) const;
  // `why`, counted and told.
  absl::Status Refused(const grpc::ServerContextBase& context, CallRefusal reason, absl::Status why) const;
  absl::Status WrongRole(const grpc::ServerContextBase& context, const Identity& identity, absl::string_view wanted) const;

  const std::string federation_;
  const SiteRegistry* const sites_;
  const PeerTable* const peers_;
  const PinnedAuthorities* const authorities_;
  CoordinatorMetrics* const metrics_;
  const Transport transport_;
  mutable std::mutex mutex_;
  Staff staff_;                                       // under mutex_
  mutable std::map<CallRefusal, RareLine> refusals_;  // under mutex_
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_RPC_AUTHORISATION_H_
