#include "coordinator/rpc/member_service.h"

#include <utility>

#include "absl/status/statusor.h"
#include "common/clock.h"
#include "coordinator/own_runs.h"
#include "coordinator/rpc/grpc_status.h"

namespace tributary::coordinator {
namespace {

// People ask; an answer goes through all runs.
constexpr RateLimit::Options kCalls = {.per_second = 0.2, .burst = 20};

}  // namespace

grpc::ServerUnaryReactor* MemberService::ListOwnRuns(grpc::CallbackServerContext* context, const v1::ListOwnRunsRequest* request,
                                                     v1::ListOwnRunsResponse* response) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  absl::StatusOr<std::string> site = authorisation_->Site(*context);
  if (!site.ok()) {
    reactor->Finish(ToGrpcStatus(site.status()));
    return reactor;
  }
  // Request and response live until Finish.
  executor_->Post([this, reactor, request, response, site = *std::move(site)] {
    if (!limits_.try_emplace(site, kCalls).first->second.Take(Clock::Real().Now())) {
      reactor->Finish(ToGrpcStatus(absl::ResourceExhaustedError("this site asks too often; try again in a few seconds")));
      return;
    }
    v1::ListRunsResponse runs;
    if (const absl::StatusOr<v1::RunStatus> one = coordinator_->GetRun(request->run()); !request->run().empty() && one.ok()) {
      *runs.add_runs() = *one;
    }
    *response = OwnRuns(runs, site, request->run());
    if (response->runs().empty()) {
      // All of them; or an older run of that name, which is the site's.
      *response = OwnRuns(coordinator_->ListRuns(), site, request->run());
    }
    reactor->Finish(grpc::Status::OK);
  });
  return reactor;
}

}  // namespace tributary::coordinator
