// The Coordinator's insides, for its two source files and no other caller: coordinator.cc (start, sessions, transfers, shutting down) and
// operators.cc (the queue of runs, what operators ask and are told). What happens in a run is ActiveRun's (coordinator/run/active_run.h).
#ifndef TRIBUTARY_COORDINATOR_COORDINATOR_IMPL_H_
#define TRIBUTARY_COORDINATOR_COORDINATOR_IMPL_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/memory_need.h"
#include "common/rare_line.h"
#include "coordinator/audit/head_publisher.h"
#include "coordinator/coordinator.h"
#include "coordinator/journal/journal.h"
#include "coordinator/journal/snapshot_store.h"
#include "coordinator/made_state.h"
#include "coordinator/metrics.h"
#include "coordinator/run/active_run.h"
#include "coordinator/run/membership.h"
#include "coordinator/run/memory_need.h"
#include "coordinator/run/run_environment.h"
#include "proto/config/capabilities.h"
#include "proto/durations.h"

namespace tributary::coordinator {

class CoordinatorImpl final : public Coordinator, private RunEnvironment {
 public:
  CoordinatorImpl(const v1::CoordinatorConfig& config, Dependencies dependencies);
  // Takes up the journal's runs.
  absl::Status Recover();

  void SessionOpened(const std::string& site, SessionSink* session, const SessionOrigin& origin) override;
  void MessageReceived(const std::string& site, SessionSink* session, v1::WorkerMessage message, uint64_t encoded_bytes,
                       UpdateProof proof) override;
  void SessionClosed(const std::string& site, SessionSink* session) override;
  void CountBytes(const std::string& site, ByteDirection direction, ByteKind kind, uint64_t bytes) override;
  absl::Status CheckWorker(const std::string& site, const std::string& worker_secret) override {
    const auto it = sessions_.find(site);
    const bool allowed = it == sessions_.end() || it->second.holder.Allows(worker_secret);
    return allowed ? absl::OkStatus() : SessionHolder::Refusal(site, DurationOf(config_.lease()));
  }
  absl::StatusOr<std::unique_ptr<UploadPlace>> CheckUpload(const std::string& site, const v1::UploadHeader& header,
                                                           const UpdateProof& proof) override;
  absl::Status UploadCompleted(const std::string& site, const v1::UploadHeader& header, UploadedPayload payload) override;
  absl::StatusOr<SharedBytes> OpenDownload(const v1::DownloadRequest& request, const std::optional<std::string>& site) override;
  absl::StatusOr<Digest> DigestOfDownload(const v1::DownloadRequest& request, const StoredBytes& bytes) const override {
    if (!request.has_snapshot_round() && !request.has_newest_snapshot()) {
      return Sha256(bytes);
    }
    const std::string which = request.has_newest_snapshot() ? "newest" : absl::StrCat("at round ", request.snapshot_round());
    return Sha256OfSealed(bytes, absl::StrCat("the snapshot of run ", request.run_id(), ", ", which));
  }
  absl::StatusOr<std::shared_ptr<Submission>> BeginSubmission(const v1::RunSpec& spec, const std::string& operator_name) override;
  absl::StatusOr<v1::RunStatus> EndSubmission(Submission& submission, const std::string& operator_name) override;
  v1::ListRunsResponse ListRuns() override;
  absl::StatusOr<v1::RunStatus> GetRun(const std::string& run) override;
  absl::StatusOr<v1::RunHistory> GetRunHistory(const std::string& run) override;
  absl::StatusOr<v1::RunStatus> StopRun(const std::string& run, const OperatorAct& act) override;
  absl::StatusOr<v1::RunStatus> PauseRun(const std::string& run, const OperatorAct& act) override;
  absl::StatusOr<v1::RunStatus> ResumeRun(const std::string& run, const OperatorAct& act) override;
  absl::StatusOr<v1::RunStatus> ReadmitSite(const std::string& run, const std::string& site, const OperatorAct& act) override;
  absl::StatusOr<v1::RunStatus> ExtendRun(const std::string& run, uint64_t rounds, const OperatorAct& act) override;
  void SetRunObserver(std::function<void(const std::string& run_id)> observer) override { observer_ = std::move(observer); }
  v1::ServerInfo GetServerInfo() override;
  std::vector<SiteStanding> GetSites() override;
  void Drain(std::function<void()> done) override;

 private:
  struct Session {
    SessionSink* sink = nullptr;
    SessionHolder holder;
    std::optional<std::string> software_version = std::nullopt;  // once it has said Hello
    Capabilities capabilities = {};
  };
  // A run of the queue. While it is in progress, `active_` has the newer state.
  struct Run {
    JournaledRun journaled;
    std::optional<v1::RunStatus> ended;  // of a terminal run, once asked for
  };

  // In coordinator.cc.

  Instant At() const { return {deps_.clock->Now(), deps_.clock->WallNow()}; }
  int64_t UnixMillis() const { return absl::ToUnixMillis(deps_.clock->WallNow()); }
  // False after reporting a storage error, after which nothing may be done or acknowledged any more.
  bool Survives(const absl::Status& status);
  // The last thing in every call that may have moved a run: takes leave of runs that are over, starts the next, and sets the timer.
  void AfterChange();
  void OnHello(const std::string& site, Session& session, const v1::Hello& hello);
  // What `tell` says of the audit log's heads, to sessions that have begun.
  template <typename Tell>
  void TellHeads(Tell tell) {
    if (deps_.heads != nullptr && !failed_) {
      Survives(tell(*deps_.heads, [this](const std::string& site, const HeadPublisher::Message& head) {
        if (const auto it = sessions_.find(site); it != sessions_.end() && it->second.software_version.has_value()) {
          it->second.sink->Send(head);
        }
      }));
    }
  }
  void OnUpdateMessage(const std::string& site, v1::Update update, UpdateProof proof);
  void OnLeave(const std::string& site, const v1::Leave& leave);
  // Somebody else than the worker that has it wants the site's session.
  void NoteConflict(const std::string& site, const SessionHolder& holder, const SessionOrigin& newcomer);
  void CloseSession(const std::string& site, const absl::Status& status);
  void TellMembersChanged();
  void RefreshSessionMetrics();
  void ScheduleWake();
  // On this run, if it is in progress then.
  void CallLater(absl::Duration delay, const std::string& run_id, void (*call)(ActiveRun&));
  void Wake();
  void FinishDrain();

  // RunEnvironment
  void Send(const std::string& site, std::shared_ptr<const v1::CoordinatorMessage> message) override;
  void Broadcast(const std::string& run_id, std::shared_ptr<const v1::CoordinatorMessage> message) override;
  void Close(const std::string& site, const absl::Status& status) override { CloseSession(site, status); }
  void OnStorageFailed(const absl::Status& status) override { Survives(status); }
  void TakeHeldUpdatesSoon(const std::string& run_id) override;
  void KeepSnapshotSoon(const std::string& run_id) override;
  void OnStandingChanged(const std::string& run_id) override {
    if (observer_) {
      observer_(run_id);
    }
  }

  // In operators.cc, with OpenDownload.

  Run* FindRun(absl::string_view run_id_or_name);
  // The run, if operators may still change what becomes of it. NotFound, FailedPrecondition (over).
  absl::StatusOr<Run*> FindLiveRun(const std::string& run_id_or_name);
  // Has `act` done to the run, which must be in progress: FailedPrecondition otherwise, with what to do about a queued one.
  absl::StatusOr<v1::RunStatus> ActOn(const std::string& run_id_or_name, absl::string_view if_queued,
                                      absl::FunctionRef<absl::Status(ActiveRun&)> act);
  // AlreadyExists: a run that is not over has this name, other than `except`.
  absl::Status CheckNameIsFree(const std::string& name, const Run* except) const;
  // Null: no such run is in progress.
  ActiveRun* FindActive(const std::string& run_id);
  // Likewise, or it does not take this site.
  ActiveRun* FindActiveFor(const std::string& site, const std::string& run_id);
  // The run in progress that the site belongs to; null: none.
  ActiveRun* RunOf(const std::string& site);
  Membership& MembershipOf(const std::string& site);
  // What a run waits for that stands, or would stand, at this place of the queue; null: nothing.
  const Run* RunAhead(const v1::RunSpec& spec, size_t place) const;
  void NoteAct(const std::string& run_id, absl::string_view kind, const OperatorAct& act);
  // Unavailable: it is shutting down. `verb`: "submit".
  absl::Status CheckTakesRuns(absl::string_view verb) const;
  // What there is of memory, if anybody knows.
  std::optional<MemoryLimits> Room() const;
  LongUpdates LongUpdatesOf(const RunModel& model) const;
  MemoryNeed NeedOf(const RunModel& model) const;
  // Of a run with so many rounds committed: what its operator must know. Errors of JudgeDisk.
  absl::StatusOr<std::string> CheckDisk(const RunModel& model, uint64_t committed) const;
  absl::Status CheckRoomToSubmit(const RunModel& model) const;
  // Of a state, which is made for this and encoded.
  absl::Status CheckRoomToDownload(const RunModel& model) const;
  absl::Status Activate(const Run& run, ActiveRun::Start start);
  void ActivateWaiting();
  // Takes a run that is over out of `active_`.
  void Retire(const std::string& run_id);
  // Of runs that are not in progress.
  absl::Status ExtendQueued(Run& run, const JournaledRun& extended, const OperatorAct& act);
  absl::Status EndQueued(Run& run, v1::RunState state, const std::string& reason);
  v1::RunStatus StatusOf(Run& run);
  // The same, after an act of which the operator is to be warned.
  v1::RunStatus StatusWith(const std::vector<std::string>& warnings, Run& run);

  const v1::CoordinatorConfig config_;
  const Dependencies deps_;
  SnapshotStore store_;
  MadeState made_state_;
  std::map<std::string, absl::Time> last_heard_;              // by site
  std::map<std::string, Session> sessions_;                   // by site
  std::map<std::string, RareLine> conflict_lines_;            // by site
  std::vector<Run> runs_;                                     // oldest first
  Membership idle_;                                           // the sites of no run in progress
  std::map<std::string, Membership> members_;                 // of the runs in progress, by run id
  std::map<std::string, std::unique_ptr<ActiveRun>> active_;  // by run id; no two share a site
  std::function<void(const std::string&)> observer_;

  bool failed_ = false;  // a storage error was reported
  std::function<void()> drain_done_;
  bool draining_ = false;
  bool drained_ = false;
  std::optional<uint64_t> counted_membership_;  // sum of the memberships' versions that the metrics show; none: they must be shown anew
  absl::Time wake_scheduled_ = absl::InfiniteFuture();
  uint64_t wake_number_ = 0;
  // Timers outlive this object in the executor's queue; they hold this weakly and do nothing once it is gone.
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_COORDINATOR_IMPL_H_
