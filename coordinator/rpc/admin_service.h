// What operators and auditors call, adapted to the Coordinator's methods.
#ifndef TRIBUTARY_COORDINATOR_RPC_ADMIN_SERVICE_H_
#define TRIBUTARY_COORDINATOR_RPC_ADMIN_SERVICE_H_

#include <grpcpp/grpcpp.h>

#include <deque>
#include <functional>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/executor.h"
#include "coordinator/coordinator.h"
#include "coordinator/enrolment.h"
#include "coordinator/rpc/authorisation.h"
#include "coordinator/site_registrar.h"
#include "tributary/v1/admin.grpc.pb.h"

namespace tributary::coordinator {

// The service methods are thread-safe: they post to the coordinator's executor. Outlives the server it is registered with.
class AdminService final : public v1::AdminService::CallbackService {
 public:
  struct Options {
    // WatchRun streams open at once.
    size_t max_watchers = 256;
    // Submissions at once, of which one is under way.
    size_t max_submissions = 16;
    // On the executor.
    std::function<absl::StatusOr<v1::ReadAuditResponse>(const v1::ReadAuditRequest&)> read_audit = [](const v1::ReadAuditRequest&) {
      return absl::UnimplementedError("no audit log");
    };
    // Used on the executor; must outlive the service. Null: there are none to ask.
    SiteRegistrar* registrar = nullptr;
    Enrolment* enrolment = nullptr;
  };

  // All must outlive the service.
  AdminService(Coordinator* coordinator, SerialExecutor* executor, const Authorisation* authorisation, const Options& options);
  ~AdminService() override;

  grpc::ServerUnaryReactor* SubmitRun(grpc::CallbackServerContext* context, const v1::SubmitRunRequest* request,
                                      v1::RunStatus* response) override;
  grpc::ServerUnaryReactor* ListRuns(grpc::CallbackServerContext* context, const v1::ListRunsRequest* request,
                                     v1::ListRunsResponse* response) override;
  grpc::ServerUnaryReactor* GetRun(grpc::CallbackServerContext* context, const v1::GetRunRequest* request,
                                   v1::RunStatus* response) override;
  grpc::ServerUnaryReactor* GetRunHistory(grpc::CallbackServerContext* context, const v1::GetRunRequest* request,
                                          v1::RunHistory* response) override;
  grpc::ServerUnaryReactor* StopRun(grpc::CallbackServerContext* context, const v1::StopRunRequest* request,
                                    v1::RunStatus* response) override;
  grpc::ServerUnaryReactor* PauseRun(grpc::CallbackServerContext* context, const v1::PauseRunRequest* request,
                                     v1::RunStatus* response) override;
  grpc::ServerUnaryReactor* ResumeRun(grpc::CallbackServerContext* context, const v1::ResumeRunRequest* request,
                                      v1::RunStatus* response) override;
  grpc::ServerUnaryReactor* ExtendRun(grpc::CallbackServerContext* context, const v1::ExtendRunRequest* request,
                                      v1::RunStatus* response) override;
  grpc::ServerUnaryReactor* ReadmitSite(grpc::CallbackServerContext* context, const v1::ReadmitSiteRequest* request,
                                        v1::RunStatus* response) override;
  grpc::ServerUnaryReactor* ReadAudit(grpc::CallbackServerContext* context, const v1::ReadAuditRequest* request,
                                      v1::ReadAuditResponse* response) override;
  grpc::ServerUnaryReactor* GetServerInfo(grpc::CallbackServerContext* context, const v1::GetServerInfoRequest* request,
                                          v1::ServerInfo* response) override;
  grpc::ServerUnaryReactor* ListSites(grpc::CallbackServerContext* context, const v1::ListSitesRequest* request,
                                      v1::ListSitesResponse* response) override;
  grpc::ServerUnaryReactor* ChangeSite(grpc::CallbackServerContext* context, const v1::ChangeSiteRequest* request,
                                       v1::Site* response) override;
  grpc::ServerUnaryReactor* IssueSiteToken(grpc::CallbackServerContext* context, const v1::IssueSiteTokenRequest* request,
                                           v1::SiteToken* response) override;
  grpc::ServerWriteReactor<v1::RunStatus>* WatchRun(grpc::CallbackServerContext* context, const v1::GetRunRequest* request) override;

  // On the executor: begins and ends to listen for changes of runs.
  void Observe();
  void StopObserving();
  // On the executor: ends every WatchRun stream.
  void CloseAll(const absl::Status& status);

 private:
  class Watch;

  // Answers on the executor with what `work` of the operator's name returns, and logs who did what to which site. `verb`: "suspend".
  template <typename Response, typename Work>
  grpc::ServerUnaryReactor* ActOnSite(grpc::CallbackServerContext* context, Response* response, absl::string_view verb,
                                      const std::string& site, const std::string& reason, Work work);

  // Answers a unary call on the executor with what `work` of its name returns, if there is a `caller`.
  template <typename Response, typename Work>
  grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext* context, absl::StatusOr<std::string> caller, Response* response, Work work);
  // The same for what changes nothing, if the caller may look.
  template <typename Response, typename Work>
  grpc::ServerUnaryReactor* Show(grpc::CallbackServerContext* context, Response* response, Work work);
  // The same for what changes a run, if the caller is an operator, and logs who asked for what, of which run, and whether it was accepted.
  // `verb`: "pause"; `run`: as the operator names it.
  template <typename Work>
  grpc::ServerUnaryReactor* Act(grpc::CallbackServerContext* context, v1::RunStatus* response, absl::string_view verb,
                                const std::string& run, const std::string& reason, Work work);

  Coordinator* const coordinator_;
  SerialExecutor* const executor_;
  const Authorisation* const authorisation_;
  const Options options_;

  // On the executor: begins the submission at the front, and goes on with the next as long as they end at once.
  void BeginSubmissions();
  // Answers the one at the front.
  void EndSubmission(const absl::StatusOr<v1::RunStatus>& result);

  // On the executor.
  std::set<Watch*> watches_;
  struct PendingSubmission {
    v1::RunSpec spec;
    std::string caller;
    std::function<void(const absl::StatusOr<v1::RunStatus>&)> answer;
  };
  std::deque<PendingSubmission> submissions_;
  // Where the first state of a run is made, however large it is.
  SerialExecutor preparing_;
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_RPC_ADMIN_SERVICE_H_
