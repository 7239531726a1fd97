// What the worker does next: the worker's half of the conversation in proto/tributary/v1/session.proto, as a pure state machine.
//
// (event, now) -> actions, each with a reason. No network, threads, clock, files or tensors: a driver (worker.h; in simulation
// sim/sim_worker.h) carries the actions out and reports what became of them as further events. So any sequence of drops can be a test.
//
// The driver runs one loop:
//
//   while (!ended) {
//     for (Action& action : engine.Handle(NextEvent(), clock.Now())) CarryOut(action);
//     ArrangeTick(engine.NextWakeup());
//   }
//
// and keeps this contract:
//
//  1. One event at a time, on one thread. The first is Tick. All actions of an event are carried out, or queued where they run beside the
//     loop, before the next event is handled; carrying one out never answers it on the spot.
//  2. Work (PrepareRun to Evaluate, with ReleaseRun and Settle) is done one piece at a time, in the order given, beside the loop. At most
//     one piece that bears a number is unanswered, but for those abandoned; Settle and ReleaseRun have no answer, and queue up behind it.
//  3. What bears a number is answered once, by the event that bears the same number: a session by SessionClosed, its last event; work by
//     its result; a transfer by Downloaded or Uploaded. Numbers are not used again.
//  4. An abandoned number needs no answer, and one that comes is ignored. CloseSession abandons a session, CancelTransfer a transfer,
//     ReleaseRun the work before it; that work is done all the same, in its turn, and ReleaseRun lets go of what it led to. The end of a
//     session abandons no work: the result counts in the next one.
//  5. What Train led to is durable before Trained is reported, as far as state_keeper.h promises: at least, that this update was made. So
//     no byte of an update leaves that a restart would forget. If it cannot be written, Trained says Aborted: the update is not sent, and
//     the program ends.
//  6. Settle need not become durable: after a restart RunPrepared brings the pending update back, and the coordinator's plan says again
//     what became of it. If it cannot be brought back, none of that round is sent but the same. ReleaseRun{over} removes what is saved of
//     that run.
//  7. Sends of a session leave in the order given, the Hello first; those of a session that is over are dropped. Messages of a session are
//     reported in the order received. Transfers go beside the session, in no order.
//  8. A Tick comes at NextWakeup() at the latest, which each event may move. An early one does no harm.
//  9. Exit is the last action. What was sent before it leaves first; work under way may be cut off: what is saved is whole at any moment.
//
// In return the engine promises, and asserts after every event (CheckInvariants):
//
//  a. One session at a time, and none in quiet hours; what is sent is for the one that is open.
//  b. One piece of work at a time. One transfer each way, for a run that is prepared, in a session that was welcomed.
//  c. An update is pending only while its round is not known to be closed, is handed over once a session, and is settled once. The next
//     Train comes after its Settle.
//  d. Nothing follows Exit.
//
// A driver that breaks the contract may trip these; nothing that the coordinator says does.
#ifndef TRIBUTARY_WORKER_WORKER_ENGINE_H_
#define TRIBUTARY_WORKER_WORKER_ENGINE_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/log.h"
#include "common/rare_line.h"
#include "optim/encoder.h"
#include "proto/wire_limits.h"
#include "tributary/v1/config.pb.h"
#include "tributary/v1/session.pb.h"
#include "tributary/v1/transfer.pb.h"
#include "worker/consent.h"
#include "worker/trainer.h"
#include "worker/transfer_attempts.h"

namespace tributary::worker {

// Where a replica stands: the state that it holds, state[round], and its hash (raw bytes, as in the protocol).
struct ReplicaPosition {
  uint64_t round = 0;
  std::string hash;
  // Pipelined runs: of state[round-1], whose parameters the replica then has as well; empty if it has not.
  std::string previous_hash = {};
};

// What training and encoding one round gave.
struct TrainedUpdate {
  std::shared_ptr<const std::string> payload;
  std::string sha256;  // of payload, raw bytes
  v1::UpdateReport report;
};

using optim::UpdateFate;

// An update that has been encoded and whose fate is not known yet: what neither a broken connection nor a restart may lose.
struct PendingUpdate {
  uint64_t round = 0;
  std::string base_hash;
  TrainedUpdate update;
};

// Sessions, pieces of work and transfers bear the number of the action that began them.
namespace event {

// Time has passed; also the first event of all.
struct Tick {};
// The person or the system asks the worker to end; with an error: it must not go on.
struct StopRequested {
  std::string reason;
  absl::Status status = {};
};
struct MessageArrived {
  uint64_t session = 0;
  v1::CoordinatorMessage message;
};
// The site consents to other runs from now on.
struct ConsentChanged {
  v1::ConsentConfig consent;
};
// The session could not be opened, or has ended.
struct SessionClosed {
  uint64_t session = 0;
  absl::Status status;
};
// `pending`: the update that was pending when this run was last let go of, if any; the encoder holds it as before. `columns_digest`: what
// the coordinator is told of the data (DataDescription). `status` Aborted: the state folder cannot be read, and the program ends. Any other
// error is the run's: it is refused with RefusalOf(status), and the worker stays for others.
struct RunPrepared {
  uint64_t work = 0;
  absl::Status status;
  std::optional<PendingUpdate> pending = std::nullopt;
  std::string columns_digest = {};
};
struct SnapshotLoaded {
  uint64_t work = 0;
  absl::StatusOr<ReplicaPosition> held;
};
// `held`: where the replica stands, also when a later commit failed. `status`: FailedPrecondition or InvalidArgument from optim::Apply.
struct CommitsApplied {
  uint64_t work = 0;
  absl::Status status;
  ReplicaPosition held;
};
// AlreadyExists: an update of this round was sent before the restart, and another must not follow it. Aborted: the state folder cannot be
// written, and no update may be sent that a restart would forget.
struct Trained {
  uint64_t work = 0;
  absl::StatusOr<TrainedUpdate> update;
};
struct ComputedAhead {
  uint64_t work = 0;
};
struct Evaluated {
  uint64_t work = 0;
  absl::StatusOr<Evaluation> evaluation;
};
// `arrived`: how many bytes of it are known to be where they should go, by this attempt and those before it.
struct Downloaded {
  uint64_t transfer = 0;
  absl::StatusOr<std::string> bytes;
  uint64_t arrived = 0;
};
struct Uploaded {
  uint64_t transfer = 0;
  absl::Status status;
  uint64_t arrived = 0;
};

}  // namespace event

using Event = std::variant<event::Tick, event::StopRequested, event::MessageArrived, event::ConsentChanged, event::SessionClosed,
                           event::RunPrepared, event::SnapshotLoaded, event::CommitsApplied, event::Trained, event::ComputedAhead,
                           event::Evaluated, event::Downloaded, event::Uploaded>;

namespace action {

// Open a stream to the coordinator.
struct OpenSession {
  uint64_t session = 0;
};
// Drop it at once; its end need not be reported.
struct CloseSession {
  uint64_t session = 0;
};
struct Send {
  uint64_t session = 0;
  v1::WorkerMessage message;
};

// From here to Evaluate: work. PrepareRun makes the model, the encoder and the trainer of an accepted run, as they were saved if they were,
// and replaces what was prepared before.
struct PrepareRun {
  uint64_t work = 0;
  v1::RunOffer offer;
};
// Let go of everything that PrepareRun made. `over`: a run whose saved state is no longer needed; empty: none.
struct ReleaseRun {
  std::string over;
};
// Make state[0] from the run's seed. Answered like LoadSnapshot.
struct InitializeState {
  uint64_t work = 0;
};
// Replace the replica's state by the snapshot.
struct LoadSnapshot {
  uint64_t work = 0;
  std::string bytes;
};
// Apply the records in order. `expected_hash`: of the state after the last, for the log (empty: not known).
struct ApplyCommits {
  uint64_t work = 0;
  std::vector<std::string> records;
  std::string expected_hash;
};
// End the round of the last Train.
struct Settle {
  uint64_t round = 0;
  UpdateFate fate = UpdateFate::kNotIncluded;
};
// Evaluate state[round-1] if asked, train, encode. The update stays pending in the encoder until Settle.
struct Train {
  uint64_t work = 0;
  v1::RoundStart start;
};
// Compute the direction of the round that `start` foretells, from the state held, and keep it for its Train.
struct ComputeAhead {
  uint64_t work = 0;
  v1::RoundStart start;
};
// The validation loss of the state held.
struct Evaluate {
  uint64_t work = 0;
};

// Fetch in the background; at most `max_bytes` are accepted.
struct Download {
  uint64_t transfer = 0;
  v1::DownloadRequest request;
  uint64_t max_bytes = 0;
};
// Send in the background, from where an earlier attempt at the same payload got to.
struct Upload {
  uint64_t transfer = 0;
  v1::UploadHeader header;
  std::shared_ptr<const std::string> payload;
};
struct CancelTransfer {
  uint64_t transfer = 0;
};

// A receipt came, to be counted.
struct Count {
  v1::Receipt::Result result = v1::Receipt::RESULT_UNSPECIFIED;
};
// A replica hash mismatch, to be counted.
struct CountMismatch {};
// Tell people; the text is the action's reason.
struct Note {
  LogLevel level = LogLevel::kInfo;
};
// End the process with ExitCodeOf(status), after what was sent has left.
struct Exit {
  absl::Status status;
};

}  // namespace action

struct Action {
  std::variant<action::OpenSession, action::CloseSession, action::Send, action::PrepareRun, action::ReleaseRun, action::InitializeState,
               action::LoadSnapshot, action::ApplyCommits, action::Settle, action::Train, action::ComputeAhead, action::Evaluate,
               action::Download, action::Upload, action::CancelTransfer, action::Count, action::CountMismatch, action::Note, action::Exit>
      what;
  // Why, for people.
  std::string reason;
};

struct WorkerEngineOptions {
  v1::ConsentConfig consent;
  std::string coordinator;  // host:port, for messages
  std::string software_version;
  // End after the first run that the worker took part in, or when this site refuses a run: consent does, or its data does not fit.
  bool once = false;
  bool withhold_losses = false;  // reports go without them
  // End with kUnreachable if no session was ever open by then.
  absl::Duration connect_timeout = absl::InfiniteDuration();
  // Waits between attempts double from min to max; each is shortened by a random part, up to half.
  absl::Duration min_backoff = absl::Milliseconds(500);
  absl::Duration max_backoff = absl::Seconds(30);
  // Runs of which something is saved from before a restart, the likeliest to be over first.
  std::vector<std::string> saved_runs;
  // A session that has not been welcomed by then is given up.
  absl::Duration welcome_timeout = absl::Seconds(20);
  // When the quiet hours that it is in are over ("06:00"), or absent: asked every few seconds, because calendar time jumps. Empty: there
  // are none. Not heeded with `once`.
  std::function<std::optional<std::string>()> quiet_until;
  // Updates up to this size, and the coordinator's own limit, travel on the session.
  uint64_t max_inline_bytes = kMaxInlineBytes;
  // Uniform in [0, 1).
  std::function<double()> random;
};

// Not thread-safe. Holds the pending update (the only thing a broken connection must not lose) until its receipt.
class WorkerEngine {
 public:
  explicit WorkerEngine(WorkerEngineOptions options);

  // What `event` calls for, in order. `now` never decreases.
  std::vector<Action> Handle(Event event, absl::Time now);

  // When a Tick is due at the latest; InfiniteFuture: only an event changes anything.
  absl::Time NextWakeup() const;

  // For metrics and tests.
  bool connected() const { return session_.welcomed; }
  const std::optional<ReplicaPosition>& held() const;
  bool has_pending_update() const { return run_.has_value() && run_->pending.has_value(); }

 private:
  // The attempts to reach the coordinator, over sessions.
  struct Connecting {
    // When the attempts began that connect_timeout bounds; absent before the first event.
    std::optional<absl::Time> since;
    bool ever_welcomed = false;
    int failed_attempts = 0;
    absl::Time next_at = absl::InfinitePast();
    std::string last_cause;
    RareLine told;  // that it was reached or lost
  };
  struct Session {
    uint64_t number = 0;  // 0: none is open
    bool welcomed = false;
    absl::Time opened_at;
    absl::Time last_heard;
    absl::Time next_heartbeat;
    absl::Duration lease;
    uint64_t max_inline_bytes = 0;
    // The coordinator is shutting down; how long to wait then.
    std::optional<absl::Duration> drain;
  };
  // In quiet hours there is no session; the last one is closed when its Leave has had time to go.
  struct Quiet {
    bool now = false;
    absl::Time look_at_clock_at = absl::InfinitePast();
    uint64_t leaving_session = 0;
  };

  enum class WorkKind { kNone, kPrepare, kLoad, kApply, kTrain, kComputeAhead, kEvaluate };
  // The piece of work whose answer is awaited.
  struct Work {
    WorkKind kind = WorkKind::kNone;
    uint64_t number = 0;
    // kApply: the round it leads to, the hash to be reached there (empty: not known), and whether to report then.
    uint64_t through = 0;
    std::string expected_hash = {};
    bool report = false;
  };
  // The run that this worker takes part in, and its replica. Sessions come and go under it.
  struct Run {
    v1::RunOffer offer;
    RunSize size;
    bool prepared = false;
    std::string columns_digest;
    Work work;
    std::optional<ReplicaPosition> held;
    // Highest round known to be committed.
    uint64_t closed_round = 0;
    std::optional<PendingUpdate> pending;
    v1::RoundStart training;      // of the newest Train; no round before the first
    uint64_t computed_ahead = 0;  // the newest round that was computed before it began
    std::optional<v1::RunEnd> end;
  };

  struct Sync {
    v1::SyncPlan plan;
    bool snapshot_loaded = false;
    std::optional<std::string> snapshot;
    std::optional<std::vector<std::string>> records;
  };
  // What this session has asked for in this run and not yet got done. The next session asks again, as things stand then.
  struct Asked {
    bool plan_awaited = false;
    std::optional<Sync> sync;
    std::deque<v1::Commit> commits;
    std::optional<std::string> fetched_record;  // of commits.front(), when it was too long for the session
    std::optional<v1::RoundStart> round_start;
    // The round for which an update is wanted; 0: none.
    uint64_t open_round = 0;
    bool report_due = false;
    // Calls of Resynchronize since the last commit that was applied well.
    int fruitless_resyncs = 0;
  };
  // One each way, of this session and this run.
  struct Transfers {
    TransferAttempts download;
    TransferAttempts upload;
    // The pending update was handed to the session, or an upload of it has ended.
    bool update_sent = false;
  };

  void On(event::Tick) {}
  void On(event::StopRequested stop);
  void On(event::MessageArrived arrived);
  void On(event::ConsentChanged changed);
  void On(event::SessionClosed closed);
  void On(event::RunPrepared prepared);
  void On(event::SnapshotLoaded loaded);
  void On(event::CommitsApplied applied);
  void On(event::Trained trained);
  void On(event::ComputedAhead computed);
  void On(event::Evaluated evaluated);
  void On(event::Downloaded downloaded);
  void On(event::Uploaded uploaded);

  void OnMessage(const v1::Welcome& welcome);
  void OnMessage(v1::RunOffer offer);
  void OnMessage(v1::SyncPlan plan);
  void OnMessage(v1::RoundStart start);
  void OnMessage(const v1::Receipt& receipt);
  void OnMessage(v1::Commit commit);
  void OnMessage(v1::RunEnd end);
  void OnMessage(const v1::Drain& drain);
  void OnMessage(const v1::RunRefused& refused);

  // Session.
  void Connect(absl::string_view reason);
  void LoseSession(const absl::Status& status);
  void ForgetSession();
  void HeedQuietHours();
  bool HeedsQuietHours() const { return options_.quiet_until != nullptr && !options_.once; }
  void CheckTimers();

  // Run. Advance starts what can be started now; everything that changes state ends in it.
  void Advance();
  void AdvanceSync();
  void AdvanceCommits();
  void AdvanceRound();
  void AdvanceUpload();
  void ComputeAhead();
  void FinishRun();
  // `over`: as in ReleaseRun.
  void DropRun(std::string over = "");
  // `status`: as of Agree.
  void RefuseOffer(const v1::RunOffer& offer, const absl::Status& status);
  void AnswerAccepted();
  void GiveUpRun(const absl::Status& why);
  // Something was wrong with what was received. After a few times in a row the worker gives up.
  void Resynchronize(absl::string_view reason);
  void AskForPlan(absl::string_view reason);
  void SendReady(absl::string_view reason);
  void SettlePending(UpdateFate fate, absl::string_view reason);
  void SkipRound(uint64_t round, absl::string_view told_to_coordinator, absl::string_view reason);
  void StartDownload(v1::DownloadRequest request, uint64_t max_bytes, absl::string_view reason);
  void RetryLater(TransferAttempts& transfer, const absl::Status& status, absl::string_view what);
  void CancelTransfers();
  // What the session has asked for in the run is over with either.
  void ForgetAsked();

  bool Working(WorkKind kind) const { return run_->work.kind == kind; }
  bool Idle() const { return Working(WorkKind::kNone); }
  // The number for the action that begins it.
  uint64_t StartWork(Work work);
  // The work that this answers, if it is awaited; then it no longer is.
  std::optional<Work> TakeWork(WorkKind kind, uint64_t number);
  bool Mine(const std::string& run_id) const { return run_.has_value() && run_->offer.run_id() == run_id; }
  // The round of the next commit that fits what is held, being applied, or queued.
  uint64_t NextCommitRound() const;
  uint64_t LastOfDownload() const;  // of the commits that the plan leads over
  void CheckInvariants() const;

  template <typename What>
  void Do(What what, absl::string_view reason) {
    actions_.push_back(Action{std::move(what), std::string(reason)});
  }
  void Note(LogLevel level, absl::string_view text) { Do(action::Note{level}, text); }
  // A line may come and go faster than anybody reads.
  void NoteConnection(LogLevel level, absl::string_view text) {
    if (const std::optional<std::string> left_out = connecting_.told.Tell(text, now_)) {
      Note(level, absl::StrCat(text, *left_out));
    }
  }
  void Exit(absl::Status status, absl::string_view reason);
  void SendMessage(v1::WorkerMessage message, absl::string_view reason);
  absl::Duration Backoff(int failures);

  const WorkerEngineOptions options_;
  v1::ConsentConfig consent_;
  std::vector<Action> actions_;
  absl::Time now_ = absl::InfinitePast();
  bool exiting_ = false;
  uint64_t last_number_ = 0;  // of sessions, work and transfers

  Connecting connecting_;
  Session session_;
  Quiet quiet_;
  // Runs that may have a file in the state folder, the one taken part in included; the first is asked about next.
  std::deque<std::string> saved_runs_;
  std::optional<Run> run_;
  Asked asked_;
  Transfers transfers_;
};

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_WORKER_ENGINE_H_
