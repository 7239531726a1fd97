#include "coordinator/rpc/admin_service.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/excerpt.h"
#include "common/log.h"
#include "common/request_id.h"
#include "common/status_macros.h"
#include "coordinator/rpc/grpc_status.h"
#include "proto/run_state.h"

namespace tributary::coordinator {
namespace {

class RefusedWatch final : public grpc::ServerWriteReactor<v1::RunStatus> {
 public:
  explicit RefusedWatch(const absl::Status& status) { Finish(ToGrpcStatus(status)); }
  void OnDone() override { delete this; }
};

absl::Status NoRegistry() {
  return absl::UnimplementedError("this server has no registry of sites");
}

std::string OutcomeOf(const absl::StatusOr<v1::RunStatus>& result) {
  return result.ok() ? absl::StrCat("accepted, run ", result->run_id(), " is ", absl::AsciiStrToLower(v1::RunState_Name(result->state())))
                     : absl::StrCat("not done: ", absl::StatusCodeToString(result.status().code()), ": ", result.status().message());
}

}  // namespace

// One WatchRun stream: while a status is being written, later changes only mark it as out of date. All state is on the executor.
class AdminService::Watch final : public grpc::ServerWriteReactor<v1::RunStatus> {
 public:
  Watch(AdminService* service, std::string run) : service_(service), run_(std::move(run)) {
    service_->executor_->Post([this] { Begin(); });
  }

  void OnWriteDone(bool ok) override {
    service_->executor_->Post([this, ok] { WriteDone(ok); });
  }
  void OnCancel() override {
    service_->executor_->Post([this] { End(absl::CancelledError("the watcher left")); });
  }
  void OnDone() override {
    service_->executor_->Post([this] {
      service_->watches_.erase(this);
      delete this;
    });
  }

  void Changed(const std::string& run_id) {
    if (run_id == run_) {
      stale_ = true;
      Pump();
    }
  }

  void End(const absl::Status& status) {
    if (!end_.has_value()) {
      end_ = status;
    }
    Pump();
  }

 private:
  void Begin() {
    if (service_->watches_.size() >= service_->options_.max_watchers) {
      End(absl::ResourceExhaustedError("too many watchers; try again later"));
      return;
    }
    service_->watches_.insert(this);
    // A name means the run that bears it now, even if a newer one takes it later.
    const absl::StatusOr<v1::RunStatus> status = service_->coordinator_->GetRun(run_);
    if (!status.ok()) {
      End(status.status());
      return;
    }
    run_ = status->run_id();
    stale_ = true;
    Pump();
  }

  void Pump() {
    if (writing_ || finished_) {
      return;
    }
    if (!end_.has_value() && stale_) {
      absl::StatusOr<v1::RunStatus> status = service_->coordinator_->GetRun(run_);
      if (status.ok()) {
        stale_ = false;
        status_ = *std::move(status);
        writing_ = true;
        StartWrite(&status_);
        return;
      }
      end_ = status.status();
    }
    if (end_.has_value()) {
      finished_ = true;
      Finish(ToGrpcStatus(*end_));
    }
  }

  void WriteDone(bool ok) {
    writing_ = false;
    if (!ok) {
      End(absl::UnavailableError("the connection broke"));
    } else if (IsOver(status_.state()) && !stale_) {
      End(absl::OkStatus());
    } else {
      Pump();
    }
  }

  AdminService* const service_;
  std::string run_;
  v1::RunStatus status_;  // being written
  bool stale_ = false;    // the run has changed since status_
  bool writing_ = false;
  bool finished_ = false;
  std::optional<absl::Status> end_;
};

AdminService::AdminService(Coordinator* coordinator, SerialExecutor* executor, const Authorisation* authorisation, const Options& options)
    : coordinator_(coordinator), executor_(executor), authorisation_(authorisation), options_(options), preparing_("submissions") {}
AdminService::~AdminService() = default;

template <typename Response, typename Work>
grpc::ServerUnaryReactor* AdminService::Answer(grpc::CallbackServerContext* context, absl::StatusOr<std::string> caller, Response* response,
                                               Work work) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  if (!caller.ok()) {
    reactor->Finish(ToGrpcStatus(caller.status()));
    return reactor;
  }
  // Request and response live until Finish.
  executor_->Post([reactor, response, caller = *std::move(caller), work = std::move(work)] {
    absl::StatusOr<Response> result = work(caller);
    const grpc::Status status = ToGrpcStatus(result.status());
    if (result.ok()) {
      *response = *std::move(result);
    }
    reactor->Finish(status);
  });
  return reactor;
}

template <typename Response, typename Work>
grpc::ServerUnaryReactor* AdminService::Show(grpc::CallbackServerContext* context, Response* response, Work work) {
  return Answer(context, authorisation_->Onlooker(*context), response,
                [work = std::move(work)](const std::string&) -> absl::StatusOr<Response> { return work(); });
}

template <typename Work>
grpc::ServerUnaryReactor* AdminService::Act(grpc::CallbackServerContext* context, v1::RunStatus* response, absl::string_view verb,
                                            const std::string& run, const std::string& reason, Work work) {
  std::string attempt = absl::StrCat(verb, " run ", Excerpt(run));
  std::string because = reason.empty() ? "" : absl::StrCat(" (", Excerpt(reason), ")");
  return Answer(context, authorisation_->Operator(*context), response,
                [attempt = std::move(attempt), because = std::move(because), request_id = RequestIdOf(*context),
                 work = std::move(work)](const std::string& caller) {
                  const absl::StatusOr<v1::RunStatus> result = work(caller);
                  LogInfo("admin", attempt, because, ": ", OutcomeOf(result), LogField("operator", caller),
                          LogField("request", request_id));
                  return result;
                });
}

grpc::ServerUnaryReactor* AdminService::SubmitRun(grpc::CallbackServerContext* context, const v1::SubmitRunRequest* request,
                                                  v1::RunStatus* response) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  absl::StatusOr<std::string> caller = authorisation_->Operator(*context);
  if (!caller.ok()) {
    reactor->Finish(ToGrpcStatus(caller.status()));
    return reactor;
  }
  auto answer = [reactor, response, name = Excerpt(request->spec().name()), caller = *caller,
                 request_id = RequestIdOf(*context)](const absl::StatusOr<v1::RunStatus>& result) {
    LogInfo("admin", "submit run ", name, ": ", OutcomeOf(result), LogField("operator", caller), LogField("request", request_id));
    if (result.ok()) {
      *response = *result;
    }
    reactor->Finish(ToGrpcStatus(result.status()));
  };
  executor_->Post([this, request, caller = *std::move(caller), answer = std::move(answer)] {
    if (submissions_.size() >= options_.max_submissions) {
      answer(absl::ResourceExhaustedError(
          absl::StrCat(submissions_.size(), " runs are being submitted at this moment; submit this one when they are in the queue")));
      return;
    }
    submissions_.push_back({request->spec(), caller, answer});
    if (submissions_.size() == 1) {
      BeginSubmissions();
    }
  });
  return reactor;
}

void AdminService::BeginSubmissions() {
  while (!submissions_.empty()) {
    const absl::StatusOr<std::shared_ptr<Submission>> begun =
        coordinator_->BeginSubmission(submissions_.front().spec, submissions_.front().caller);
    if (!begun.ok()) {
      EndSubmission(begun.status());
      continue;
    }
    preparing_.Post([this, submission = *begun]() mutable {
      const absl::Status prepared = submission->Prepare();
      executor_->Post([this, submission = std::move(submission), prepared] {
        EndSubmission(prepared.ok() ? coordinator_->EndSubmission(*submission, submissions_.front().caller) : prepared);
        BeginSubmissions();
      });
    });
    return;
  }
}

void AdminService::EndSubmission(const absl::StatusOr<v1::RunStatus>& result) {
  const auto answer = std::move(submissions_.front().answer);
  submissions_.pop_front();
  answer(result);
}

grpc::ServerUnaryReactor* AdminService::ListRuns(grpc::CallbackServerContext* context, const v1::ListRunsRequest* /*request*/,
                                                 v1::ListRunsResponse* response) {
  return Show(context, response, [this] { return coordinator_->ListRuns(); });
}

grpc::ServerUnaryReactor* AdminService::GetRun(grpc::CallbackServerContext* context, const v1::GetRunRequest* request,
                                               v1::RunStatus* response) {
  return Show(context, response, [this, request] { return coordinator_->GetRun(request->run()); });
}

grpc::ServerUnaryReactor* AdminService::GetRunHistory(grpc::CallbackServerContext* context, const v1::GetRunRequest* request,
                                                      v1::RunHistory* response) {
  return Show(context, response, [this, request]() -> absl::StatusOr<v1::RunHistory> {
    TRIBUTARY_ASSIGN_OR_RETURN(v1::RunHistory history, coordinator_->GetRunHistory(request->run()));
    auto& rounds = *history.mutable_rounds();
    if (request->after_round() > 0) {
      rounds.erase(std::remove_if(rounds.begin(), rounds.end(),
                                  [request](const v1::RoundRecord& record) { return record.round() <= request->after_round(); }),
                   rounds.end());
    }
    return history;
  });
}

grpc::ServerUnaryReactor* AdminService::StopRun(grpc::CallbackServerContext* context, const v1::StopRunRequest* request,
                                                v1::RunStatus* response) {
  return Act(context, response, "stop", request->run(), request->reason(), [this, request](const std::string& caller) {
    return coordinator_->StopRun(request->run(), {caller, request->reason()});
  });
}

grpc::ServerUnaryReactor* AdminService::PauseRun(grpc::CallbackServerContext* context, const v1::PauseRunRequest* request,
                                                 v1::RunStatus* response) {
  return Act(context, response, "pause", request->run(), request->reason(), [this, request](const std::string& caller) {
    return coordinator_->PauseRun(request->run(), {caller, request->reason()});
  });
}

grpc::ServerUnaryReactor* AdminService::ResumeRun(grpc::CallbackServerContext* context, const v1::ResumeRunRequest* request,
                                                  v1::RunStatus* response) {
  return Act(context, response, "resume", request->run(), "", [this, request](const std::string& caller) {
    return coordinator_->ResumeRun(request->run(), {caller, ""});
  });
}

grpc::ServerUnaryReactor* AdminService::ExtendRun(grpc::CallbackServerContext* context, const v1::ExtendRunRequest* request,
                                                  v1::RunStatus* response) {
  return Act(context, response, "extend", request->run(), absl::StrCat("to ", request->rounds(), " rounds"),
             [this, request](const std::string& caller) {
               return coordinator_->ExtendRun(request->run(), request->rounds(), {caller, ""});
             });
}

grpc::ServerUnaryReactor* AdminService::ReadmitSite(grpc::CallbackServerContext* context, const v1::ReadmitSiteRequest* request,
                                                    v1::RunStatus* response) {
  return Act(context, response, "readmit", request->run(), absl::StrCat("site ", request->site()),
             [this, request](const std::string& caller) {
               return coordinator_->ReadmitSite(request->run(), request->site(), {caller, ""});
             });
}

grpc::ServerUnaryReactor* AdminService::ReadAudit(grpc::CallbackServerContext* context, const v1::ReadAuditRequest* request,
                                                  v1::ReadAuditResponse* response) {
  return Show(context, response, [this, request] { return options_.read_audit(*request); });
}

grpc::ServerUnaryReactor* AdminService::GetServerInfo(grpc::CallbackServerContext* context, const v1::GetServerInfoRequest* /*request*/,
                                                      v1::ServerInfo* response) {
  return Show(context, response, [this] { return coordinator_->GetServerInfo(); });
}

template <typename Response, typename Work>
grpc::ServerUnaryReactor* AdminService::ActOnSite(grpc::CallbackServerContext* context, Response* response, absl::string_view verb,
                                                  const std::string& site, const std::string& reason, Work work) {
  std::string attempt = absl::StrCat(verb, " site ", Excerpt(site), reason.empty() ? "" : absl::StrCat(" (", Excerpt(reason), ")"));
  return Answer(context, authorisation_->Operator(*context), response,
                [attempt = std::move(attempt), request_id = RequestIdOf(*context),
                 work = std::move(work)](const std::string& caller) -> absl::StatusOr<Response> {
                  absl::StatusOr<Response> result = work(caller);
                  LogInfo("admin", attempt, ": ", result.ok() ? "done" : absl::StrCat("not done: ", result.status().message()),
                          LogField("operator", caller), LogField("request", request_id));
                  return result;
                });
}

grpc::ServerUnaryReactor* AdminService::ListSites(grpc::CallbackServerContext* context, const v1::ListSitesRequest* /*request*/,
                                                  v1::ListSitesResponse* response) {
  return Show(context, response, [this]() -> absl::StatusOr<v1::ListSitesResponse> {
    if (options_.registrar == nullptr) {
      return NoRegistry();
    }
    v1::ListSitesResponse sites = options_.registrar->List();
    const v1::ServerInfo info = coordinator_->GetServerInfo();
    const std::set<std::string> connected(info.sites_connected().begin(), info.sites_connected().end());
    for (v1::Site& site : *sites.mutable_sites()) {
      site.set_connected(connected.contains(site.name()));
    }
    return sites;
  });
}

grpc::ServerUnaryReactor* AdminService::ChangeSite(grpc::CallbackServerContext* context, const v1::ChangeSiteRequest* request,
                                                   v1::Site* response) {
  const std::string verb = absl::AsciiStrToLower(v1::ChangeSiteRequest::Act_Name(request->act()));
  return ActOnSite(context, response, verb, request->name(), request->reason(),
                   [this, request](const std::string& caller) -> absl::StatusOr<v1::Site> {
                     if (options_.registrar == nullptr) {
                       return NoRegistry();
                     }
                     return options_.registrar->Change(request->name(), request->act(), {caller, request->reason()});
                   });
}

grpc::ServerUnaryReactor* AdminService::IssueSiteToken(grpc::CallbackServerContext* context, const v1::IssueSiteTokenRequest* request,
                                                       v1::SiteToken* response) {
  return ActOnSite(context, response, "make a token for", request->name(), "",
                   [this, request](const std::string& caller) -> absl::StatusOr<v1::SiteToken> {
                     if (options_.enrolment == nullptr) {
                       return NoRegistry();
                     }
                     return options_.enrolment->MakeToken(request->name(), absl::Seconds(request->valid_seconds()), {caller, ""});
                   });
}

grpc::ServerWriteReactor<v1::RunStatus>* AdminService::WatchRun(grpc::CallbackServerContext* context, const v1::GetRunRequest* request) {
  const absl::StatusOr<std::string> caller = authorisation_->Onlooker(*context);
  if (!caller.ok()) {
    return new RefusedWatch(caller.status());
  }
  return new Watch(this, request->run());
}

void AdminService::Observe() {
  coordinator_->SetRunObserver([this](const std::string& run_id) {
    // Not from inside the change: the coordinator may be in the middle of it.
    executor_->Post([this, run_id] {
      for (Watch* const watch : std::vector<Watch*>(watches_.begin(), watches_.end())) {
        watch->Changed(run_id);
      }
    });
  });
}

void AdminService::StopObserving() {
  coordinator_->SetRunObserver(nullptr);
}

void AdminService::CloseAll(const absl::Status& status) {
  for (Watch* const watch : std::vector<Watch*>(watches_.begin(), watches_.end())) {
    watch->End(status);
  }
}

}  // namespace tributary::coordinator
