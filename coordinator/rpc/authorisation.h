// Who may call what. Asked on every call: a certificate alone says who someone is, the registry whether they still belong.
#ifndef TRIBUTARY_COORDINATOR_RPC_AUTHORISATION_H_
#define TRIBUTARY_COORDINATOR_RPC_AUTHORISATION_H_

#include <set>
#include <string>

#include "absl/status/statusor.h"
#include "common/tls.h"
#include "tributary/v1/config.pb.h"

namespace grpc {
class ServerContextBase;
}  // namespace grpc

namespace tributary::coordinator {

// Immutable; safe to share between threads.
class Registry {
 public:
  // `insecure`: the server runs without TLS, and callers say themselves who they are (common/tls.h).
  Registry(const v1::CoordinatorConfig& config, bool insecure);

  // The caller's site or operator name. Unauthenticated: no valid identity. PermissionDenied: an identity of another role, or a name that
  // is not in the registry; the message says what to change.
  absl::StatusOr<std::string> Site(const grpc::ServerContextBase& context) const;
  absl::StatusOr<std::string> Operator(const grpc::ServerContextBase& context) const;
  // Either of the two.
  absl::StatusOr<Identity> SiteOrOperator(const grpc::ServerContextBase& context) const;

 private:
  const std::string federation_;
  const bool insecure_;
  const std::set<std::string> sites_;
  const std::set<std::string> operators_;
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_RPC_AUTHORISATION_H_
