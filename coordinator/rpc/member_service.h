// What sites ask of their runs, adapted to the Coordinator.
#ifndef TRIBUTARY_COORDINATOR_RPC_MEMBER_SERVICE_H_
#define TRIBUTARY_COORDINATOR_RPC_MEMBER_SERVICE_H_

#include <grpcpp/grpcpp.h>

#include <map>
#include <string>

#include "common/executor.h"
#include "common/rate_limit.h"
#include "coordinator/coordinator.h"
#include "coordinator/rpc/authorisation.h"
#include "tributary/v1/member.grpc.pb.h"

namespace tributary::coordinator {

// Thread-safe. Outlives the server it is registered with; `coordinator`, used on the executor, and the others outlive it.
class MemberService final : public v1::MemberService::CallbackService {
 public:
  MemberService(Coordinator* coordinator, SerialExecutor* executor, const Authorisation* authorisation)
      : coordinator_(coordinator), executor_(executor), authorisation_(authorisation) {}

  grpc::ServerUnaryReactor* ListOwnRuns(grpc::CallbackServerContext* context, const v1::ListOwnRunsRequest* request,
                                        v1::ListOwnRunsResponse* response) override;

 private:
  Coordinator* const coordinator_;
  SerialExecutor* const executor_;
  const Authorisation* const authorisation_;
  std::map<std::string, RateLimit> limits_;  // by site; on the executor
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_RPC_MEMBER_SERVICE_H_
