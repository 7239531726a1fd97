// A run in progress: its rounds, the sites that take part in it, and what they send.
//
// Feeds the pure RoundEngine (round_engine.h) and carries out what it decides. The journal, the model's state and the sum of the open round
// are RunHost's (run_host.h); counters and losses are RunAccounts'. It speaks to the world through RunEnvironment alone; which sites are
// there it reads in the coordinator's Membership, in which it notes how far each has come.
//
// The way of an update: OnUpdate -> Judge (round, member, base state, length) -> RunHost::CheckUpdate (every bit of the payload) ->
// RunHost::AcceptUpdate (durable, then summed) -> the engine, which closes the round -> CommitRound (RunHost::MakeCommit, ApplyCommit,
// AppendCommit) -> receipts, then broadcast.
#ifndef TRIBUTARY_COORDINATOR_RUN_ACTIVE_RUN_H_
#define TRIBUTARY_COORDINATOR_RUN_ACTIVE_RUN_H_

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "common/rare_line.h"
#include "coordinator/journal/journal.h"
#include "coordinator/journal/snapshot_store.h"
#include "coordinator/metrics.h"
#include "coordinator/run/incoming_update.h"
#include "coordinator/run/membership.h"
#include "coordinator/run/operator_act.h"
#include "coordinator/run/round_engine.h"
#include "coordinator/run/round_summary.h"
#include "coordinator/run/run_accounts.h"
#include "coordinator/run/run_environment.h"
#include "coordinator/run/run_host.h"
#include "coordinator/run/run_sites.h"
#include "coordinator/run/upload_place.h"
#include "proto/config/capabilities.h"
#include "tributary/v1/config.pb.h"
#include "tributary/v1/run.pb.h"
#include "tributary/v1/session.pb.h"
#include "tributary/v1/transfer.pb.h"

namespace tributary::coordinator {

// Not thread-safe: every method runs on the coordinator's executor. No method blocks on the network; journal writes block on the disk.
// The environment does not call back, except to read the status.
class ActiveRun {
 public:
  struct Dependencies {
    const Clock* clock = nullptr;
    Journal* journal = nullptr;
    SnapshotStore* snapshots = nullptr;
    CoordinatorMetrics* metrics = nullptr;
    Membership* membership = nullptr;  // of its sites: who is connected is the coordinator's to say, how far each has come the run's
    RunEnvironment* environment = nullptr;
    uint64_t sites = 0;  // that there are for it
  };
  // What a site's Hello said, for the run that is offered to it.
  struct Greeting {
    std::string software_version;
    Capabilities capabilities;
    std::optional<v1::HeldState> held;
  };
  // Whether the run was under way when the coordinator last stopped.
  enum class Start { kNew, kRecovered };
  enum class Judgement { kNew, kDuplicate };  // of an acceptable update

  // Takes up the run from the journal; a new one is WAITING then, durably. Nothing is sent yet: offer it to the sites that are
  // there, then call OnMembersChanged. All of `dependencies` must outlive the run. Errors of RunHost::Open; of a journal write, exit code
  // kStorage.
  static absl::StatusOr<std::unique_ptr<ActiveRun>> Open(const JournaledRun& run, const v1::CoordinatorConfig& config, Start start,
                                                         Dependencies dependencies);
  ActiveRun(const ActiveRun&) = delete;
  ActiveRun& operator=(const ActiveRun&) = delete;

  const std::string& id() const { return host_->run_id(); }
  // As the journal has it.
  const JournaledRun& journaled() const { return journaled_; }
  const RunHost& host() const { return *host_; }
  RunLog& log() { return host_->log(); }
  // Whether the site belongs to it: no other run in progress has it then.
  bool Takes(const std::string& site) const { return TakesSite(journaled_.spec, site); }
  // It has ended, and is of no further use but for its status.
  bool over() const { return ended_.has_value(); }
  // Asked to drain: no round is in flight and none will start.
  bool drained() const { return drained_; }
  // When OnTime is due at the latest.
  absl::Time wake_at() const { return engine_.wake_at(); }
  v1::RunStatus Status() const;

  // Sites (active_run_sites.cc). Messages are of this run; those that a site may not send now change nothing.

  // A site has said Hello, or was there when the run began: it is asked for its consent, unless it cannot do what the run needs.
  void Offer(const std::string& site, const Greeting& greeting);
  void OnRunAnswer(const std::string& site, const v1::RunAnswer& answer);
  void OnReady(const std::string& site, const v1::Ready& ready);
  void OnUpdateSkipped(const std::string& site, const v1::UpdateSkipped& skipped);
  void OnStateReport(const std::string& site, const v1::StateReport& report);
  // Somebody connected, dropped or left.
  void OnMembersChanged() { Dispatch(MembersChanged{}); }
  void OnTime() { Dispatch(TimePassed{}); }
  // For the journal's record of the run.
  void NoteEvent(const std::string& site, absl::string_view kind, uint64_t round, absl::string_view detail);
  void CountBytes(const std::string& site, ByteDirection direction, uint64_t bytes) { accounts_.CountBytes(site, direction, bytes); }

  // Updates (active_run_sites.cc).

  // Before the payload is there or looked at. FailedPrecondition: late, not a member, or of another base state. AlreadyExists: another than
  // was accepted before, which is an alarm. ResourceExhausted: longer than an update of this run can be. The site has then been sent its
  // receipt, if it gets one.
  absl::StatusOr<Judgement> Judge(const std::string& site, const IncomingUpdate& update);
  // One that came inside a message: as OnUpdate, but what is new and valid may be held until those that came with it have been looked at,
  // so that they become durable together (RunEnvironment::TakeHeldUpdatesSoon). Held or not shows nowhere outside.
  void OnInlineUpdate(const std::string& site, IncomingUpdate update);
  // Durable and summed. False after a storage error.
  bool TakeHeldUpdates();
  // The snapshot that a commit has made due, unless it is kept by now. False after a storage error.
  bool KeepDueSnapshot();
  // Where the payload of an update that was judged kNew is to go as it arrives. Null: it is gathered in memory.
  absl::StatusOr<std::unique_ptr<UploadPlace>> PlaceFor(const std::string& site, uint64_t round);
  // The whole update. Its file, if it is in one, is this run's from here on. OK: durable and summed, now or before. InvalidArgument: not a
  // valid payload, or not signed as it must be, and the site has been told. Unavailable: the journal failed. Otherwise as Judge.
  absl::Status OnUpdate(const std::string& site, IncomingUpdate update);

  // Operators. Durable before they return OK. FailedPrecondition: not in this state; nothing is changed.

  absl::Status Pause(const OperatorAct& act);
  absl::Status Resume(const OperatorAct& act);
  absl::Status Stop(const OperatorAct& act);
  // `rounds` in all. The sessions of its sites end, to be asked for their consent again. Errors besides: of Extended (extended_run.h).
  absl::Status Extend(uint64_t rounds, const OperatorAct& act);
  // A site that was quarantined for its updates takes part again; its session ends, to begin as a new one. NotFound: the run knows no such
  // site. FailedPrecondition besides: it is not quarantined so.
  absl::Status ReadmitSite(const std::string& site, const OperatorAct& act);
  // SIGTERM: finishes the round in flight and starts no other.
  void Drain() { Dispatch(DrainRequested{}); }

 private:
  // Of a site on its present session.
  struct SiteState {
    std::string software_version;
    bool offered = false;
    std::optional<v1::HeldState> held;  // as its Hello said, until its answer
    int mismatches = 0;                 // states in a row that differed from the log
    // Round to which the last SyncPlan leads, until a Ready answers it: a Ready that answers no plan asks for one.
    std::optional<uint64_t> planned;
  };
  // Valid, and not durable yet.
  struct HeldUpdate {
    JournaledUpdate update;
    double norm = 0;
    std::string digest;
  };
  // A plan that its site has not answered yet.
  struct UnfinishedSync {
    std::string held;  // what it was made for: round and state hash; empty: nothing of this run
    v1::SyncPlan plan;
  };

  ActiveRun(const JournaledRun& run, const v1::CoordinatorConfig& config, std::unique_ptr<RunHost> host, const RunPosition& position,
            const Dependencies& dependencies);

  // In active_run.cc.

  Instant At() const { return {deps_.clock->Now(), deps_.clock->WallNow()}; }
  int64_t UnixMillis() const { return absl::ToUnixMillis(deps_.clock->WallNow()); }
  // False after reporting a storage error, after which nothing may be done or acknowledged any more.
  bool Survives(const absl::Status& status);
  absl::Status SetState(v1::RunState state, const std::string& reason);
  void NoteAct(absl::string_view kind, const OperatorAct& act);
  // The counters of the sites, and what was noted, durable now.
  absl::Status KeepAccounts();
  absl::Status SettleForOperator();
  // Feeds the engine and carries out what it decides; safe to call while that is going on.
  void Dispatch(Event event);
  void CarryOut(const Action& action);
  void BeginRound(const StartRound& start);
  void TellRoundStart(const std::string& site, bool update_held);
  void CommitRound(const CloseRound& close);
  // Between two rounds.
  void TakeSnapshotIfDue(uint64_t record_bytes);
  void ForecastDisk();
  // The mean over these sites. False after a storage error.
  bool RecordEvaluation(uint64_t round, const std::map<std::string, JournaledEvaluation>& by_site);
  // Whether no round comes after this one, which is committed.
  bool IsLast(uint64_t round) const { return round == journaled_.spec.rounds() || (enough_.has_value() && round == host_->round()); }
  absl::StatusOr<std::shared_ptr<const v1::CoordinatorMessage>> CommitMessage(uint64_t round, const StoredBytes& record,
                                                                              const std::string& state_hash) const;
  void Finish(const EndRun& end);
  void TellChanges();
  // What the site is doing, for people.
  std::string Activity(const std::string& site) const;

  // In active_run_sites.cc.

  // Why a site with these columns cannot take part beside the others; empty: it can, and is known by them from now on. The columns of a run
  // are those of the first site that takes part in it, as long as that one is there or an update of it is in the run.
  std::string AdmitColumns(const std::string& site, const std::string& digest);
  // It takes no part in the run on this session.
  void Refused(const std::string& site, const std::string& why);
  // Has accepted the run, on a session that is open.
  bool Consented(const std::string& site) const;
  // The unfinished plan of the site, if it is to go on with that one; null: it needs another.
  const v1::SyncPlan* UnfinishedPlan(const std::string& site, const std::string& held, uint64_t included) const;
  void SendPlan(const std::string& site, const std::optional<v1::HeldState>& held, const std::string& reason);
  // The replica differs from the log: it takes part in nothing until it has started over from a snapshot.
  void Quarantine(const std::string& site, uint64_t round, const std::string& state_hash);
  void OnBenched(const SiteBenched& benched);
  void Reject(const std::string& site, uint64_t round, RejectionReason kind, const std::string& reason);
  // Its update was refused for what it holds: that is answered, and counts against the site. `told` names site and round, too.
  void Refuse(const std::string& site, uint64_t round, const absl::Status& why, const std::string& told);
  // What a site has sent is summed scaled down, or left out (MeasuredUpdate::share).
  void NoteBounded(const std::string& site, uint64_t round, const MeasuredUpdate& measured);
  // Tells the engine that the site's update of that round is not valid, unless what was held has closed it meanwhile.
  void DispatchRefusal(const std::string& site, uint64_t round, std::string reason);
  // Judges and checks; kNew: it is held now.
  absl::StatusOr<Judgement> Hold(const std::string& site, IncomingUpdate update);

  const Dependencies deps_;
  const v1::CoordinatorConfig config_;
  JournaledRun journaled_;
  const std::unique_ptr<RunHost> host_;
  RoundEngine engine_;
  std::optional<std::string> enough_;  // as the engine's: why the run ends before its last round
  RunAccounts accounts_;
  RoundSummary summary_;

  std::map<std::string, SiteState> sites_;
  std::map<std::string, uint64_t> last_mismatch_;           // by site: the round in which its state last differed from the log's
  std::map<std::string, UnfinishedSync> unfinished_syncs_;  // by site
  absl::Time last_accepted_ = absl::InfinitePast();         // of the open round
  absl::Time evidence_written_ = absl::InfinitePast();

  bool told_of_unknown_columns_ = false;

  std::vector<HeldUpdate> held_;
  std::deque<Event> events_;
  bool dispatching_ = false;
  bool failed_ = false;                 // a storage error was reported
  std::optional<v1::RunStatus> ended_;  // how, once it is over
  bool drained_ = false;
  // What was last told of it.
  v1::RunState told_state_ = v1::RUN_STATE_UNSPECIFIED;
  std::string told_reason_;
  // A run that waits tells of every site that comes.
  RareLine standing_line_{50};
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_RUN_ACTIVE_RUN_H_
