#include "coordinator/rpc/authorisation.h"

#include <grpcpp/server_context.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/status_macros.h"
#include "common/worker_secret.h"

namespace tributary::coordinator {
namespace {

absl::Status MayNot(const Identity& identity, absl::string_view wanted) {
  return absl::PermissionDeniedError(
      absl::StrCat(SpiffeId(identity), " may not make this call: it needs a certificate of ", wanted, " of this federation"));
}

absl::Status NotRegistered(const Identity& identity, absl::string_view list) {
  return absl::PermissionDeniedError(
      absl::StrCat(SpiffeId(identity), " is not in the coordinator's registry; add '", identity.name, "' to `", list,
                   "` in coordinator.yaml and send the coordinator SIGHUP",
                   identity.role == Role::kSite ? absl::StrCat(", or: tributary site add ", identity.name) : ""));
}

}  // namespace

Authorisation::Authorisation(const v1::CoordinatorConfig& config, const SiteRegistry* sites, const PeerTable* peers,
                             const PinnedAuthorities* authorities, CoordinatorMetrics* metrics, Transport transport)
    : federation_(config.federation()),
      sites_(sites),
      peers_(peers),
      authorities_(authorities),
      metrics_(metrics),
      transport_(transport),
      staff_(StaffOf(config)) {}

Staff StaffOf(const v1::CoordinatorConfig& config) {
  return {{config.operators().begin(), config.operators().end()}, {config.auditors().begin(), config.auditors().end()}};
}

std::string Authorisation::WorkerSecretOf(const grpc::ServerContextBase& context) {
  const auto found = context.client_metadata().find(kWorkerSecretKey);
  const std::string secret = found == context.client_metadata().end() ? "" : std::string(found->second.data(), found->second.size());
  return IsWorkerSecret(secret) ? secret : "";
}

std::optional<Peer> Authorisation::PeerOf(const grpc::ServerContextBase& context) const {
  return peers_->Find(context.peer());
}

absl::StatusOr<Identity> Authorisation::Caller(const grpc::ServerContextBase& context) const {
  const std::optional<Peer> peer = PeerOf(context);
  if (transport_ == Transport::kMutualTls && !peer.has_value()) {
    return absl::UnauthenticatedError("the connection is gone");
  }
  absl::StatusOr<Identity> identity = transport_ == Transport::kPlaintext ? ClaimedIdentity(context, federation_) : Named(*peer);
  if (!identity.ok()) {
    return Refused(context, CallRefusal::kIdentity, identity.status());
  }
  const CallRefusal reason = identity->role == Role::kCoordinator ? CallRefusal::kRole : CallRefusal::kList;
  identity = Known(*std::move(identity), transport_ == Transport::kPlaintext ? absl::InfiniteFuture() : peer->validity.begin);
  if (!identity.ok()) {
    return Refused(context, reason, identity.status());
  }
  return identity;
}

absl::Status Authorisation::Refused(const grpc::ServerContextBase& context, CallRefusal reason, absl::Status why) const {
  metrics_->CountCallRefused(reason);
  const std::optional<Peer> peer = PeerOf(context);
  const std::lock_guard<std::mutex> lock(mutex_);
  if (const auto left_out = refusals_[reason].Tell(why.message(), Clock::Real().Now()); left_out.has_value()) {
    LogWarning("calls", "refused ", peer.has_value() ? peer->address : "a connection that is gone", ": ", why.message(), *left_out);
  }
  return why;
}

absl::Status Authorisation::WrongRole(const grpc::ServerContextBase& context, const Identity& identity, absl::string_view wanted) const {
  return Refused(context, CallRefusal::kRole, MayNot(identity, wanted));
}

absl::StatusOr<Identity> Authorisation::Named(const Peer& peer) const {
  TRIBUTARY_ASSIGN_OR_RETURN(Identity identity, IdentityOf(peer.uris, "the certificate", federation_));
  if (authorities_ != nullptr) {
    TRIBUTARY_RETURN_IF_ERROR(authorities_->MaySpeak(peer.issuers, peer.uris[0]));
  }
  return identity;
}

absl::Status Authorisation::Belongs(const Peer& peer) const {
  TRIBUTARY_ASSIGN_OR_RETURN(Identity identity, Named(peer));
  return Known(std::move(identity), peer.validity.begin).status();
}

bool Authorisation::IsSite(const Peer& peer) const {
  const absl::StatusOr<Identity> identity = Named(peer);
  return identity.ok() && identity->role == Role::kSite;
}

absl::StatusOr<Identity> Authorisation::Known(Identity identity, absl::Time certificate_begin) const {
  if (identity.role == Role::kSite) {
    const absl::Status listed = sites_->Check(identity.name, certificate_begin);
    if (absl::IsNotFound(listed)) {
      return NotRegistered(identity, "sites");
    }
    TRIBUTARY_RETURN_IF_ERROR(listed);
    return identity;
  }
  if (identity.role == Role::kCoordinator) {
    return MayNot(identity, "a site or an operator");
  }
  const bool is_operator = identity.role == Role::kOperator;
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!(is_operator ? staff_.operators : staff_.auditors).contains(identity.name)) {
    return NotRegistered(identity, is_operator ? "operators" : "auditors");
  }
  return identity;
}

absl::Status Authorisation::Listed(const std::string& site) const {
  return Known({federation_, Role::kSite, site}, absl::InfiniteFuture()).status();
}

void Authorisation::SetStaff(Staff staff) {
  const std::lock_guard<std::mutex> lock(mutex_);
  staff_ = std::move(staff);
}

absl::StatusOr<Identity> Authorisation::SiteOrOperator(const grpc::ServerContextBase& context) const {
  TRIBUTARY_ASSIGN_OR_RETURN(Identity identity, Caller(context));
  if (identity.role != Role::kSite && identity.role != Role::kOperator) {
    return WrongRole(context, identity, "a site or an operator");
  }
  return identity;
}

absl::StatusOr<std::string> Authorisation::Onlooker(const grpc::ServerContextBase& context) const {
  TRIBUTARY_ASSIGN_OR_RETURN(Identity identity, Caller(context));
  if (identity.role != Role::kOperator && identity.role != Role::kAuditor) {
    return WrongRole(context, identity, "an operator or an auditor");
  }
  return std::move(identity.name);
}

absl::StatusOr<std::string> Authorisation::Site(const grpc::ServerContextBase& context) const {
  TRIBUTARY_ASSIGN_OR_RETURN(Identity identity, Caller(context));
  if (identity.role != Role::kSite) {
    return WrongRole(context, identity, "a site");
  }
  return std::move(identity.name);
}

absl::StatusOr<std::string> Authorisation::Operator(const grpc::ServerContextBase& context) const {
  TRIBUTARY_ASSIGN_OR_RETURN(Identity identity, Caller(context));
  if (identity.role != Role::kOperator) {
    return WrongRole(context, identity, "an operator");
  }
  return std::move(identity.name);
}

}  // namespace tributary::coordinator
