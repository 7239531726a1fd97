#include "coordinator/rpc/authorisation.h"

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

Authorisation::Authorisation(const v1::CoordinatorConfig& config, const SiteRegistry* sites, Transport transport)
    : federation_(config.federation()),
      sites_(sites),
      transport_(transport),
      operators_(config.operators().begin(), config.operators().end()) {}

absl::StatusOr<Identity> Authorisation::SiteOrOperator(const grpc::ServerContextBase& context) const {
  TRIBUTARY_ASSIGN_OR_RETURN(Identity identity, PeerIdentity(context, federation_, transport_));
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
