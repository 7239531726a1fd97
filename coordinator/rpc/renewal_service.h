// What sites call for their next certificate, adapted to Enrolment.
#ifndef TRIBUTARY_COORDINATOR_RPC_RENEWAL_SERVICE_H_
#define TRIBUTARY_COORDINATOR_RPC_RENEWAL_SERVICE_H_

#include <grpcpp/grpcpp.h>

#include "common/executor.h"
#include "coordinator/enrolment.h"
#include "coordinator/rpc/authorisation.h"
#include "tributary/v1/enrolment.grpc.pb.h"

namespace tributary::coordinator {

// Thread-safe. Outlives the server it is registered with; `enrolment`, used on the executor, and the others outlive it. `enrolment` null:
// it issues nothing.
class RenewalService final : public v1::RenewalService::CallbackService {
 public:
  RenewalService(Enrolment* enrolment, SerialExecutor* executor, const Authorisation* authorisation)
      : enrolment_(enrolment), executor_(executor), authorisation_(authorisation) {}

  grpc::ServerUnaryReactor* Renew(grpc::CallbackServerContext* context, const v1::RenewRequest* request,
                                  v1::IssuedCertificate* response) override;

 private:
  Enrolment* const enrolment_;
  SerialExecutor* const executor_;
  const Authorisation* const authorisation_;
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_RPC_RENEWAL_SERVICE_H_
