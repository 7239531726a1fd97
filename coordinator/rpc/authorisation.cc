#include "coordinator/rpc/authorisation.h"

#include <grpcpp/server_context.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace tributary::coordinator {
namespace {

absl::Status WrongRole(const Identity& identity, absl::string_view wanted) {
  return absl::PermissionDeniedError(
      absl::StrCat(SpiffeId(identity), " may not make this call: it needs a certificate of ", wanted, " of this federation"));
}

absl::Status NotRegistered(const Identity& identity, absl::string_view list) {
  return absl::PermissionDeniedError(absl::StrCat(SpiffeId(identity), " is not in the coordinator's registry; add '", identity.name,
                                                  "' to `", list, "` in coordinator.yaml and send the coordinator SIGHUP"));
}

}  // namespace

Authorisation::Authorisation(const v1::CoordinatorConfig& config, const SiteRegistry* sites, const PeerTable* peers, Transport transport)
    : federation_(config.federation()),
      sites_(sites),
      peers_(peers),
      transport_(transport),
      operators_(config.operators().begin(), config.operators().end()) {}

std::optional<Peer> Authorisation::PeerOf(const grpc::ServerContextBase& context) const {
  return peers_->Find(context.peer());
}

absl::StatusOr<Identity> Authorisation::SiteOrOperator(const grpc::ServerContextBase& context) const {
  if (transport_ == Transport::kPlaintext) {
    TRIBUTARY_ASSIGN_OR_RETURN(Identity claimed, ClaimedIdentity(context, federation_));
    return Known(std::move(claimed));
  }
  const std::optional<Peer> peer = PeerOf(context);
  if (!peer.has_value()) {
    return absl::UnauthenticatedError("the connection is gone");
  }
  return SiteOrOperator(*peer);
}

absl::StatusOr<Identity> Authorisation::SiteOrOperator(const Peer& peer) const {
  TRIBUTARY_ASSIGN_OR_RETURN(Identity identity, IdentityOf(peer.uris, "the certificate", federation_));
  return Known(std::move(identity));
}

absl::StatusOr<Identity> Authorisation::Known(Identity identity) const {
  switch (identity.role) {
    case Role::kSite:
      TRIBUTARY_RETURN_IF_ERROR(Listed(identity.name));
      return identity;
    case Role::kOperator: {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (!operators_.contains(identity.name)) {
        return NotRegistered(identity, "operators");
      }
      return identity;
    }
    case Role::kCoordinator:
      break;
  }
  return WrongRole(identity, "a site or an operator");
}

absl::Status Authorisation::Listed(const std::string& site) const {
  return sites_->Contains(site) ? absl::OkStatus() : NotRegistered({federation_, Role::kSite, site}, "sites");
}

void Authorisation::SetOperators(std::set<std::string> operators) {
  const std::lock_guard<std::mutex> lock(mutex_);
  operators_.swap(operators);
}

absl::StatusOr<std::string> Authorisation::Site(const grpc::ServerContextBase& context) const {
  TRIBUTARY_ASSIGN_OR_RETURN(Identity identity, SiteOrOperator(context));
  if (identity.role != Role::kSite) {
    return WrongRole(identity, "a site");
  }
  return std::move(identity.name);
}

absl::StatusOr<std::string> Authorisation::Operator(const grpc::ServerContextBase& context) const {
  TRIBUTARY_ASSIGN_OR_RETURN(Identity identity, SiteOrOperator(context));
  if (identity.role != Role::kOperator) {
    return WrongRole(identity, "an operator");
  }
  return std::move(identity.name);
}

}  // namespace tributary::coordinator
