// The part of the engine that follows one run: reaching the current state, commits, rounds, updates. Sessions and runs: worker_engine.cc.
#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/assert.h"
#include "common/exit_codes.h"
#include "common/status_macros.h"
#include "optim/commit.h"
#include "worker/engine_messages.h"
#include "worker/run_bounds.h"
#include "worker/worker_engine.h"

namespace tributary::worker {
namespace {

// Resynchronisations that lead nowhere before the worker gives up: a defect, not weather.
constexpr int kMaxFruitlessResyncs = 5;

}  // namespace

void WorkerEngine::OnMessage(const v1::RunRefused& refused) {
  if (Mine(refused.run_id())) {
    GiveUpRun(WithExitCode(absl::FailedPreconditionError(absl::StrCat("the coordinator refuses this site: ", refused.reason())),
                           ExitCode::kData));
  }
}

void WorkerEngine::OnMessage(v1::SyncPlan plan) {
  if (!Mine(plan.run_id()) || !run_->prepared) {
    return;
  }
  asked_.plan_awaited = false;
  while (!asked_.commits.empty() && asked_.commits.front().round() <= plan.target_round()) {
    asked_.commits.pop_front();
    asked_.fetched_record.reset();
  }
  // The plan overrides what was heard before: a log that was taken back (`tributary journal truncate-to`) commits again rounds that this
  // worker has seen closed.
  run_->closed_round = asked_.commits.empty() ? plan.target_round() : asked_.commits.back().round();
  if (transfers_.download.id != 0) {
    Do(action::CancelTransfer{transfers_.download.id}, "a newer plan replaces it");
    transfers_.download = {};
  }

  if (run_->pending.has_value() && run_->pending->round <= plan.target_round()) {
    // Its receipt was lost with a session; the plan says what became of it.
    const bool known = plan.has_last_receipt() && plan.last_receipt().round() == run_->pending->round;
    SettlePending(known && plan.last_receipt().result() == v1::Receipt::INCLUDED ? UpdateFate::kIncluded : UpdateFate::kNotIncluded,
                  known ? "the plan carries the receipt that was missed" : "the round was committed without this update");
  }

  if (!plan.reason().empty()) {
    Note(LogLevel::kWarning, absl::StrCat("the coordinator makes this worker start from a snapshot: ", plan.reason()));
  }
  if (!plan.needs_snapshot() && !run_->held.has_value()) {
    return Resynchronize("no state is held and the plan has no snapshot");
  }
  Sync sync;
  sync.snapshot_loaded = !plan.needs_snapshot();
  sync.plan = std::move(plan);
  asked_.sync = std::move(sync);
}

void WorkerEngine::AdvanceSync() {
  Sync& sync = *asked_.sync;
  const v1::SyncPlan& plan = sync.plan;
  if (!sync.snapshot_loaded) {
    if (sync.snapshot.has_value()) {
      if (!Idle()) {
        return;
      }
      Do(action::LoadSnapshot{StartWork({.kind = WorkKind::kLoad}), *std::move(sync.snapshot)}, "the snapshot has arrived");
      sync.snapshot.reset();
    } else if (Working(WorkKind::kLoad)) {
      return;
    } else if (plan.snapshot_round() == 0 && run_->offer.spec().model().initial_weights().empty() && plan.reason().empty() &&
               asked_.fruitless_resyncs == 0) {
      // A seed gives everybody the same bits, and the coordinator checks the hash in Ready: only if that went wrong is state[0] worth a
      // download.
      if (Idle()) {
        Do(action::InitializeState{StartWork({.kind = WorkKind::kLoad})}, "the run starts from a seed");
      }
    } else {
      v1::DownloadRequest request;
      request.set_run_id(plan.run_id());
      request.set_snapshot_round(plan.snapshot_round());
      StartDownload(std::move(request), MaxSnapshotBytes(run_->size),
                    absl::StrCat("the snapshot of round ", plan.snapshot_round(), " is missing"));
    }
    return;
  }
  if (Working(WorkKind::kApply) || Working(WorkKind::kLoad)) {
    return;
  }
  if (run_->held->round >= plan.target_round()) {
    asked_.sync.reset();
    SendReady("the current state is reached");
    return;
  }
  const uint64_t first = run_->held->round + 1;
  const uint64_t last = LastOfDownload();
  if (sync.records.has_value()) {
    if (!Idle()) {
      return;
    }
    Do(action::ApplyCommits{StartWork({.kind = WorkKind::kApply, .through = last}), *std::move(sync.records), ""},
       absl::StrCat("commits ", first, " to ", last, " have arrived"));
    sync.records.reset();
    return;
  }
  StartDownload(RequestForCommits(plan.run_id(), first, last), MaxCommitBytes(run_->size, last - first + 1),
                absl::StrCat("commits ", first, " to ", last, " are missing"));
}

uint64_t WorkerEngine::LastOfDownload() const {
  return std::min(asked_.sync->plan.target_round(), run_->held->round + CommitsAtOnce(run_->size));
}

void WorkerEngine::StartDownload(v1::DownloadRequest request, uint64_t max_bytes, absl::string_view reason) {
  TransferAttempts& download = transfers_.download;
  if (!session_.welcomed || download.id != 0 || now_ < download.retry_at) {
    return;
  }
  download.id = ++last_number_;
  if (asked_.sync.has_value() && !download.broke_off) {
    Note(LogLevel::kInfo, absl::StrCat("downloading: ", reason));
  }
  Do(action::Download{download.id, std::move(request), max_bytes}, reason);
}

void WorkerEngine::On(event::Downloaded downloaded) {
  TransferAttempts& download = transfers_.download;
  if (downloaded.transfer != download.id || download.id == 0) {
    return;
  }
  download.id = 0;
  download.NoteArrived(downloaded.arrived);
  absl::Status status = downloaded.bytes.status();
  if (status.ok()) {
    if (asked_.sync.has_value() && !asked_.sync->snapshot_loaded) {
      asked_.sync->snapshot = *std::move(downloaded.bytes);
    } else {
      const uint64_t count = asked_.sync.has_value() ? LastOfDownload() - run_->held->round : 1;
      absl::StatusOr<std::vector<std::string>> records = optim::SplitCommitRecords(*std::move(downloaded.bytes), count);
      status = records.status();
      if (status.ok() && asked_.sync.has_value()) {
        asked_.sync->records = *std::move(records);
      } else if (status.ok() && !asked_.commits.empty()) {
        asked_.fetched_record = std::move(records->front());
      }
    }
  }
  if (status.ok()) {
    download = {};
    return;
  }
  const AfterFailure next = download.AfterFailedDownload(status);
  if (next == AfterFailure::kRetry) {
    return RetryLater(download, status, "a download");
  }
  const std::string reason = absl::StrCat("a download failed: ", status.message());
  Note(LogLevel::kWarning, reason);
  download.retry_at = now_ + Backoff(download.failures++);
  if (next == AfterFailure::kAskForPlan) {
    return AskForPlan(reason);
  }
  Resynchronize(reason);
}

void WorkerEngine::On(event::SnapshotLoaded loaded) {
  if (!TakeWork(WorkKind::kLoad, loaded.work).has_value()) {
    return;
  }
  if (!loaded.held.ok()) {
    Note(LogLevel::kError, absl::StrCat("the snapshot received is not usable: ", loaded.held.status().message()));
    if (asked_.sync.has_value()) {
      Resynchronize("the snapshot received is not usable");
    }
    return;
  }
  run_->held = *std::move(loaded.held);
  if (asked_.sync.has_value() && asked_.sync->plan.needs_snapshot() && asked_.sync->plan.snapshot_round() == run_->held->round) {
    asked_.sync->snapshot_loaded = true;
  }
}

void WorkerEngine::Resynchronize(absl::string_view reason) {
  if (++asked_.fruitless_resyncs > kMaxFruitlessResyncs) {
    return Exit(WithExitCode(absl::DataLossError(absl::StrCat("this worker could not reach the coordinator's state in ",
                                                              kMaxFruitlessResyncs, " attempts; the last one failed: ", reason,
                                                              ". Read the coordinator's log, check that both run the same version, then "
                                                              "start the worker again")),
                             ExitCode::kDamaged),
                "resynchronising failed repeatedly");
  }
  AskForPlan(reason);
}

void WorkerEngine::AskForPlan(absl::string_view reason) {
  // A download that has failed waits its time under the new plan too.
  CancelTransfers();
  // The plan says anew what there is to do; only a report is owed as before.
  Asked asked;
  asked.plan_awaited = true;
  asked.report_due = asked_.report_due;
  asked.fruitless_resyncs = asked_.fruitless_resyncs;
  asked_ = std::move(asked);
  SendReady(reason);
}

void WorkerEngine::SendReady(absl::string_view reason) {
  SendMessage(ReadyMessage(run_->offer.run_id(), run_->held), reason);
}

uint64_t WorkerEngine::NextCommitRound() const {
  uint64_t newest = run_->held.has_value() ? run_->held->round : 0;
  if (Working(WorkKind::kApply)) {
    newest = std::max(newest, run_->work.through);
  }
  if (asked_.sync.has_value()) {
    newest = std::max(newest, asked_.sync->plan.target_round());
  }
  if (!asked_.commits.empty()) {
    newest = std::max(newest, asked_.commits.back().round());
  }
  return newest + 1;
}

void WorkerEngine::OnMessage(v1::Commit commit) {
  // While a plan is awaited it will cover this commit; the pending update's fate comes with it too.
  if (!Mine(commit.run_id()) || !run_->prepared || asked_.plan_awaited || (!run_->held.has_value() && !asked_.sync.has_value())) {
    return;
  }
  run_->closed_round = std::max(run_->closed_round, commit.round());
  if (run_->pending.has_value() && run_->pending->round <= commit.round()) {
    SettlePending(UpdateFate::kNotIncluded, "the round was committed and no receipt came");
  }
  if (asked_.open_round <= commit.round()) {
    asked_.open_round = 0;
  }
  if (asked_.round_start.has_value() && asked_.round_start->round() <= commit.round()) {
    asked_.round_start.reset();
  }
  const uint64_t next = NextCommitRound();
  if (commit.round() < next) {
    return;
  }
  if (commit.round() > next) {
    return Resynchronize(absl::StrCat("commit ", commit.round(), " arrived, but ", next, " was expected"));
  }
  if (EnoughCommitsWait(asked_.commits)) {
    return AskForPlan("more commits arrive than this worker keeps in memory");
  }
  asked_.commits.push_back(std::move(commit));
}

void WorkerEngine::AdvanceCommits() {
  v1::Commit& commit = asked_.commits.front();
  std::string record;
  if (!commit.record().empty()) {
    record = std::move(*commit.mutable_record());
  } else if (asked_.fetched_record.has_value()) {
    record = *std::move(asked_.fetched_record);
    asked_.fetched_record.reset();
  } else {
    return StartDownload(RequestForCommits(commit.run_id(), commit.round(), commit.round()), MaxCommitBytes(run_->size, 1),
                         absl::StrCat("commit ", commit.round(), " is too long for the session"));
  }
  action::ApplyCommits apply;
  apply.work =
      StartWork({.kind = WorkKind::kApply, .through = commit.round(), .expected_hash = commit.state_hash(), .report = commit.report()});
  apply.records.push_back(std::move(record));
  apply.expected_hash = commit.state_hash();
  Do(std::move(apply), absl::StrCat("commit ", commit.round(), " has arrived"));
  asked_.commits.pop_front();
}

void WorkerEngine::On(event::CommitsApplied applied) {
  const std::optional<Work> work = TakeWork(WorkKind::kApply, applied.work);
  if (!work.has_value()) {
    return;
  }
  TRIBUTARY_ASSERT(applied.held.round >= run_->held->round, "commits took the replica from round ", run_->held->round, " back to round ",
                   applied.held.round);
  run_->held = std::move(applied.held);
  if (!applied.status.ok()) {
    Note(LogLevel::kError, absl::StrCat("commit ", run_->held->round + 1, " cannot be applied: ", applied.status.message()));
    if (session_.welcomed) {
      Resynchronize("a commit cannot be applied");
    }
    return;
  }
  if (!work->expected_hash.empty() && run_->held->hash != work->expected_hash) {
    Do(action::CountMismatch{}, "replica differs");
    Note(LogLevel::kError,
         absl::StrCat("after commit ", run_->held->round, " this replica's state is ", absl::BytesToHexString(run_->held->hash),
                      ", the coordinator's is ", absl::BytesToHexString(work->expected_hash), "; asking for a snapshot"));
    // The coordinator sees the hash in Ready, and decides: a snapshot, unless it was the message that was wrong.
    if (session_.welcomed) {
      Resynchronize("the state hash differs from the coordinator's");
    }
    return;
  }
  asked_.fruitless_resyncs = 0;
  if (work->report && session_.welcomed) {
    asked_.report_due = true;
  }
}

void WorkerEngine::On(event::Evaluated evaluated) {
  if (!TakeWork(WorkKind::kEvaluate, evaluated.work).has_value() || !session_.welcomed) {
    return;
  }
  const absl::StatusOr<Evaluation>& evaluation = evaluated.evaluation;
  if (!evaluation.ok() && !absl::IsUnimplemented(evaluation.status())) {
    Note(LogLevel::kError, absl::StrCat("evaluation of round ", run_->held->round, " failed: ", evaluation.status().message()));
  }
  const bool told = evaluation.ok() && !options_.withhold_losses;
  SendMessage(StateReportMessage(run_->offer.run_id(), *run_->held, told ? std::make_optional(*evaluation) : std::nullopt),
              "the coordinator asked for a report");
}

void WorkerEngine::OnMessage(v1::RoundStart start) {
  if (!Mine(start.run_id()) || !run_->prepared || start.round() <= run_->closed_round) {
    return;
  }
  if (Working(WorkKind::kTrain) && run_->training.round() == start.round() && run_->training.base_state_hash() == start.base_state_hash()) {
    // Asked again over a new session while still at it.
    if (!start.update_held()) {
      asked_.open_round = start.round();
    }
    return;
  }
  asked_.round_start = std::move(start);
}

void WorkerEngine::AdvanceRound() {
  const v1::RoundStart start = *std::move(asked_.round_start);
  asked_.round_start.reset();
  const uint64_t round = start.round();
  const std::optional<ReplicaPosition>& held = run_->held;
  const bool from_held = held.has_value() && start.base_round() == held->round && start.base_state_hash() == held->hash;
  const bool from_previous = held.has_value() && start.base_round() + 1 == held->round && start.base_state_hash() == held->previous_hash;
  if (!held.has_value() || held->round + 1 != round || !(from_held || from_previous)) {
    if (asked_.plan_awaited) {
      return;
    }
    return Resynchronize(OtherBaseText(start, held));
  }
  asked_.plan_awaited = false;
  asked_.fruitless_resyncs = 0;
  if (start.update_held()) {
    return Note(LogLevel::kInfo, absl::StrCat("the coordinator already has this site's update of round ", round));
  }
  asked_.open_round = round;
  if (run_->pending.has_value() && run_->pending->round == round && run_->pending->base_hash == start.base_state_hash()) {
    return;  // AdvanceUpload sends it again
  }
  if (run_->pending.has_value()) {
    SettlePending(UpdateFate::kNotIncluded, absl::StrCat("round ", round, " starts and no receipt came"));
  }
  if (const absl::Status unusable = CheckRound(consent_, run_->size, start.local_steps(), start.learning_rate()); !unusable.ok()) {
    return SkipRound(round, unusable.message(), "the round is outside the consent, or not usable");
  }
  run_->training = start;
  Do(action::Train{StartWork({.kind = WorkKind::kTrain}), start}, absl::StrCat("round ", round, " starts"));
}

// In a pipelined run the next round's base is the state held: while this round's update and commit travel, its direction is computed.
void WorkerEngine::ComputeAhead() {
  const v1::RoundStart& trained = run_->training;
  const uint64_t next = trained.round() + 1;
  const bool sent = run_->pending.has_value() && run_->pending->round == trained.round() && transfers_.update_sent;
  if (!sent || run_->computed_ahead >= next || run_->held->round + 1 != trained.round()) {
    return;
  }
  if (!CheckRound(consent_, run_->size, trained.next_local_steps(), trained.next_learning_rate()).ok()) {
    return;
  }
  run_->computed_ahead = next;
  action::ComputeAhead ahead{StartWork({.kind = WorkKind::kComputeAhead}), StartAfter(trained, *run_->held)};
  Do(std::move(ahead), absl::StrCat("round ", next, " will be computed ahead from the current state"));
}

void WorkerEngine::On(event::ComputedAhead computed) {
  TakeWork(WorkKind::kComputeAhead, computed.work);
}

void WorkerEngine::On(event::Trained trained) {
  if (!TakeWork(WorkKind::kTrain, trained.work).has_value()) {
    return;
  }
  const uint64_t round = run_->training.round();
  if (!trained.update.ok()) {
    const absl::Status& status = trained.update.status();
    if (absl::IsAborted(status)) {
      return Exit(
          Annotate(status, absl::StrCat("the update of round ", round, " is not sent: it could not be saved, and a restart would lose it")),
          "the state folder cannot be written");
    }
    Note(LogLevel::kError, absl::StrCat("round ", round, " gets no update from this site: ", status.message()));
    if (asked_.open_round == round) {
      SkipRound(round, WhyNoUpdate(status), "there is no update to send");
    }
    return;
  }
  run_->pending = PendingUpdate{round, run_->training.base_state_hash(), *std::move(trained.update)};
  if (round <= run_->closed_round) {
    SettlePending(UpdateFate::kNotIncluded, absl::StrCat("round ", round, " was committed before training ended"));
  }
}

void WorkerEngine::AdvanceUpload() {
  const std::optional<PendingUpdate>& pending = run_->pending;
  if (!pending.has_value() || transfers_.update_sent || !session_.welcomed || asked_.open_round != pending->round) {
    return;
  }
  const TrainedUpdate& update = pending->update;
  const std::string& run_id = run_->offer.run_id();
  const Reported reported = options_.withhold_losses ? Reported::kWithoutLosses : Reported::kAll;
  if (update.payload->size() <= session_.max_inline_bytes) {
    transfers_.update_sent = true;
    return SendMessage(UpdateMessage(run_id, *pending, reported), absl::StrCat("the update of round ", pending->round, " is ready"));
  }
  if (transfers_.upload.id != 0 || now_ < transfers_.upload.retry_at) {
    return;
  }
  action::Upload upload;
  upload.transfer = transfers_.upload.id = ++last_number_;
  upload.header = UploadHeaderOf(run_id, *pending, reported);
  upload.payload = update.payload;
  Do(std::move(upload), absl::StrCat("the update of round ", pending->round, " is ready and too long for the session"));
}

void WorkerEngine::On(event::Uploaded uploaded) {
  TransferAttempts& upload = transfers_.upload;
  if (uploaded.transfer != upload.id || upload.id == 0) {
    return;
  }
  upload.id = 0;
  upload.NoteArrived(uploaded.arrived);
  if (!run_->pending.has_value()) {
    return;
  }
  if (uploaded.status.ok()) {
    upload = {};
    transfers_.update_sent = true;
    return;
  }
  if (upload.AfterFailedUpload(uploaded.status) == AfterFailure::kRetry) {
    return RetryLater(upload, uploaded.status, "the upload");
  }
  transfers_.update_sent = true;  // not again on this session
  if (uploaded.status.code() == absl::StatusCode::kFailedPrecondition) {
    // The round has closed meanwhile; a receipt or the commit says so too.
    return Note(LogLevel::kInfo, absl::StrCat("the upload of round ", run_->pending->round, " came too late: ", uploaded.status.message()));
  }
  Note(LogLevel::kError, absl::StrCat("the upload of round ", run_->pending->round, " failed: ", uploaded.status.message()));
  const uint64_t round = run_->pending->round;
  SettlePending(UpdateFate::kNotIncluded, "the upload failed");
  SkipRound(round, "the upload failed", "the upload failed");
}

void WorkerEngine::OnMessage(const v1::Receipt& receipt) {
  if (!Mine(receipt.run_id())) {
    return;
  }
  Do(action::Count{receipt.result()}, "a receipt came");
  if (receipt.result() == v1::Receipt::REJECTED) {
    Note(LogLevel::kError, absl::StrCat("the coordinator rejected the update of round ", receipt.round(), ": ", receipt.reason()));
  } else if (receipt.result() == v1::Receipt::LATE) {
    Note(LogLevel::kInfo,
         absl::StrCat("the update of round ", receipt.round(), " came late; it stays in the residual, and nothing is lost"));
  }
  if (!run_->pending.has_value() || run_->pending->round != receipt.round()) {
    return;
  }
  SettlePending(receipt.result() == v1::Receipt::INCLUDED ? UpdateFate::kIncluded : UpdateFate::kNotIncluded,
                absl::StrCat("receipt: ", v1::Receipt::Result_Name(receipt.result())));
}

void WorkerEngine::SettlePending(UpdateFate fate, absl::string_view reason) {
  Do(action::Settle{run_->pending->round, fate}, reason);
  run_->pending.reset();
  if (transfers_.upload.id != 0) {
    Do(action::CancelTransfer{transfers_.upload.id}, reason);
  }
  transfers_.upload = {};
  transfers_.update_sent = false;
}

void WorkerEngine::SkipRound(uint64_t round, absl::string_view told_to_coordinator, absl::string_view reason) {
  asked_.open_round = 0;
  SendMessage(SkippedMessage(run_->offer.run_id(), round, told_to_coordinator), reason);
}

}  // namespace tributary::worker
