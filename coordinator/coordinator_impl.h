// The Coordinator's insides, shared by its source files and for no other caller: coordinator.cc (start, queue of runs, downloads, drain),
// run_status.cc (what operators are told), sessions.cc (what sites say), updates.cc (their updates), rounds.cc (what the engine decides).
#ifndef TRIBUTARY_COORDINATOR_COORDINATOR_IMPL_H_
#define TRIBUTARY_COORDINATOR_COORDINATOR_IMPL_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "coordinator/coordinator.h"
#include "coordinator/journal/journal.h"
#include "coordinator/journal/snapshot_store.h"
#include "coordinator/metrics.h"
#include "coordinator/run/membership.h"
#include "coordinator/run/round_engine.h"
#include "coordinator/run/run_accounts.h"
#include "coordinator/run/run_host.h"

namespace tributary::coordinator {

class CoordinatorImpl final : public Coordinator {
 public:
  CoordinatorImpl(const v1::CoordinatorConfig& config, Dependencies dependencies);
  // Takes up the journal's runs.
  absl::Status Recover();

  void SessionOpened(const std::string& site, SessionSink* session) override;
  void MessageReceived(const std::string& site, SessionSink* session, v1::WorkerMessage message, uint64_t encoded_bytes) override;
  void SessionClosed(const std::string& site, SessionSink* session) override;
  void CountBytes(const std::string& site, ByteDirection direction, ByteKind kind, uint64_t bytes) override;
  absl::Status CheckUpload(const std::string& site, const v1::UploadHeader& header) override;
  absl::Status UploadCompleted(const std::string& site, const v1::UploadHeader& header, std::string payload) override;
  absl::StatusOr<SharedBytes> OpenDownload(const v1::DownloadRequest& request, bool is_operator) override;
  absl::StatusOr<v1::RunStatus> SubmitRun(const v1::RunSpec& spec) override;
  v1::ListRunsResponse ListRuns() override;
  absl::StatusOr<v1::RunStatus> GetRun(const std::string& run) override;
  absl::StatusOr<v1::RunHistory> GetRunHistory(const std::string& run) override;
  absl::StatusOr<v1::RunStatus> StopRun(const std::string& run, const std::string& reason) override;
  absl::StatusOr<v1::RunStatus> PauseRun(const std::string& run, const std::string& reason) override;
  absl::StatusOr<v1::RunStatus> ResumeRun(const std::string& run) override;
  void SetRunObserver(std::function<void(const std::string& run_id)> observer) override { observer_ = std::move(observer); }
  v1::ServerInfo GetServerInfo() override;
  void Drain(std::function<void()> done) override;

 private:
  struct Session {
    SessionSink* sink = nullptr;
    bool greeted = false;
    std::string software_version;       // as its Hello said
    std::optional<v1::HeldState> held;  // as its Hello said
    int mismatches = 0;                 // states in a row that differed from the log
    // Round to which the last SyncPlan leads, until a Ready answers it: a Ready that answers no plan asks for one.
    std::optional<uint64_t> planned;
  };
  struct Run {
    JournaledRun journaled;
    std::optional<v1::RunStatus> ended;  // of a terminal run, once asked for
  };
  // A plan that its site has not answered yet.
  struct UnfinishedSync {
    std::string held;  // what it was made for: round and state hash; empty: nothing of this run
    v1::SyncPlan plan;
  };
  struct ActiveRun {
    ActiveRun(std::unique_ptr<RunHost> run_host, const RoundPolicy& policy, const RunPosition& position, Instant at)
        : host(std::move(run_host)), engine(policy, position, at) {}
    const std::string& id() const { return host->run_id(); }
    std::unique_ptr<RunHost> host;
    RoundEngine engine;
    RunAccounts accounts;
    absl::Time last_accepted = absl::InfinitePast();         // of the open round
    std::map<std::string, double> final_losses;              // by site, from StateReports
    std::map<std::string, uint64_t> last_mismatch;           // by site: the round in which its state last differed from the log's
    std::map<std::string, UnfinishedSync> unfinished_syncs;  // by site
    // What was last told of it.
    v1::RunState told_state = v1::RUN_STATE_UNSPECIFIED;
    std::string told_reason;
  };
  // One update on its way in, however it came.
  struct IncomingUpdate {
    std::string run_id;
    uint64_t round = 0;
    std::string base_state_hash;
    std::string digest;  // SHA-256 of the payload
    std::string payload;
    uint64_t payload_bytes = 0;  // known before the payload is
    v1::UpdateReport report;
  };

  // --- coordinator.cc ---
  Instant At() const { return {deps_.clock->Now(), deps_.clock->WallNow()}; }
  int64_t UnixMillis() const { return absl::ToUnixMillis(deps_.clock->WallNow()); }
  // False after reporting a storage error, after which nothing may be done or acknowledged any more.
  bool Survives(const absl::Status& status);
  Run* FindRun(absl::string_view run_id_or_name);
  // The run, if operators may still change what becomes of it. NotFound, FailedPrecondition (over).
  absl::StatusOr<Run*> FindLiveRun(const std::string& run_id_or_name);
  std::string NewRunId(const std::string& name) const;
  void NoteOperator(const std::string& run_id, absl::string_view kind, const std::string& reason);
  absl::Status StoreInitialState(const JournaledRun& run, const RunModel& model, const optim::ReplicaState& state);
  absl::Status Activate(Run& run, bool recovering);
  void ActivateNext();
  absl::Status SetRunState(Run& run, v1::RunState state, const std::string& reason);
  void FinishDrain();

  // --- run_status.cc ---
  v1::RunStatus StatusOf(Run& run);
  v1::RunStatus StatusOfActive();
  // From the journal.
  absl::StatusOr<v1::RunStatus> StatusOfEnded(const JournaledRun& run);
  std::string Activity(const std::string& site) const;
  void Notify(const std::string& run_id);

  // --- sessions.cc ---
  void OnHello(const std::string& site, Session& session, const v1::Hello& hello);
  void OnRunAnswer(const std::string& site, Session& session, const v1::RunAnswer& answer);
  void OnReady(const std::string& site, Session& session, const v1::Ready& ready);
  void OnStateReport(const std::string& site, Session& session, const v1::StateReport& report);
  void OnLeave(const std::string& site, const v1::Leave& leave);
  // Offers the active run, if there is one.
  void Offer(const std::string& site);
  // The unfinished plan of the site, if it is to go on with that one; null: it needs another.
  const v1::SyncPlan* UnfinishedPlan(const std::string& site, const std::string& held, uint64_t included) const;
  void SendPlan(const std::string& site, Session& session, const std::optional<v1::HeldState>& held, const std::string& reason);
  // The replica differs from the log: it takes part in nothing until it has started over from a snapshot.
  void Quarantine(const std::string& site, uint64_t round, const std::string& state_hash);
  // For the journal's record of the active run, if there is one.
  void NoteEvent(const std::string& site, absl::string_view kind, uint64_t round, absl::string_view detail);
  // Has accepted the active run.
  bool Consented(const std::string& site) const;
  void Send(const std::string& site, std::shared_ptr<const v1::CoordinatorMessage> message);
  void Send(const std::string& site, v1::CoordinatorMessage message);
  void SendReceipt(const std::string& site, const std::string& run_id, uint64_t round, v1::Receipt::Result result,
                   const std::string& reason);
  void CloseSession(const std::string& site, const absl::Status& status);
  void RefreshSessionMetrics();

  // --- updates.cc ---
  absl::Status OnUpdate(const std::string& site, IncomingUpdate update);
  // OK: acceptable, or accepted before (then `duplicate`). Otherwise the site has been sent its receipt.
  absl::Status JudgeUpdate(const std::string& site, const IncomingUpdate& update, bool& duplicate);
  absl::Status Reject(const std::string& site, const std::string& run_id, uint64_t round, RejectionReason kind, const std::string& reason);

  // --- rounds.cc ---
  // Feeds the engine and carries out what it decides; safe to call while that is going on.
  void Dispatch(Event event);
  void CarryOut(const Action& action);
  void BeginRound(const StartRound& start);
  void TellRoundStart(const std::string& site, bool update_held);
  void CommitRound(const CloseRound& close);
  // False after a storage error.
  bool RecordValidationLoss(uint64_t round, double loss);
  v1::RoundRecord MakeRecord(const CloseRound& close, const PendingCommit& pending, absl::Time closing, size_t recipients) const;
  std::shared_ptr<const v1::CoordinatorMessage> CommitMessage(uint64_t round, const std::string& record,
                                                              const std::string& state_hash) const;
  void CountCommit(const CloseRound& close, const v1::RoundRecord& record);
  void FinishRun(const EndRun& end);
  void TellChanges();
  void ScheduleWake();
  void Wake();

  const v1::CoordinatorConfig config_;
  const Dependencies deps_;
  SnapshotStore store_;
  Membership membership_;
  std::map<std::string, Session> sessions_;
  std::vector<Run> runs_;  // oldest first
  std::unique_ptr<ActiveRun> active_;
  std::function<void(const std::string&)> observer_;

  absl::Time evidence_written_ = absl::InfinitePast();
  std::deque<Event> events_;
  bool dispatching_ = false;
  bool failed_ = false;  // a storage error was reported
  std::function<void()> drain_done_;
  bool draining_ = false;
  bool drained_ = false;
  absl::Time wake_scheduled_ = absl::InfiniteFuture();
  uint64_t wake_number_ = 0;
  // Timers outlive this object in the executor's queue; they hold this weakly and do nothing once it is gone.
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

absl::Status StorageHasFailed();
// What a site says of itself, or an operator of a run, short and plain enough to be quoted in statuses and on terminals: one line, cut
// between characters, for a protobuf string that is not UTF-8 cannot be read back.
std::string Excerpt(const std::string& reason);
v1::CoordinatorMessage RunEndMessage(const v1::RunStatus& status);

// A protobuf duration as a span of time.
template <typename ProtoDuration>
absl::Duration DurationOf(const ProtoDuration& duration) {
  return absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
}

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_COORDINATOR_IMPL_H_
