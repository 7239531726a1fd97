#include "coordinator/rpc/renewal_service.h"

#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "coordinator/rpc/grpc_status.h"

namespace tributary::coordinator {

grpc::ServerUnaryReactor* RenewalService::Renew(grpc::CallbackServerContext* context, const v1::RenewRequest* request,
                                                v1::IssuedCertificate* response) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  absl::StatusOr<std::string> site = authorisation_->Site(*context);
  if (!site.ok() || enrolment_ == nullptr) {
    reactor->Finish(ToGrpcStatus(site.ok() ? absl::FailedPreconditionError("this coordinator issues no certificates") : site.status()));
    return reactor;
  }
  // Request and response live until Finish.
  executor_->Post([this, reactor, request, response, site = *std::move(site)] {
    absl::StatusOr<v1::IssuedCertificate> issued = enrolment_->Renew(site, request->csr());
    const grpc::Status status = ToGrpcStatus(issued.status());
    if (issued.ok()) {
      *response = *std::move(issued);
    }
    reactor->Finish(status);
  });
  return reactor;
}

}  // namespace tributary::coordinator
