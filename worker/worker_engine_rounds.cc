// The part of the engine that follows one run: reaching the current state, commits, rounds, updates. Sessions and runs: worker_engine.cc.
#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/exit_codes.h"
#include "common/status_macros.h"
#include "worker/worker_engine.h"

namespace tributary::worker {
namespace {

// Headers and trailers of snapshots and commits, generously.
constexpr uint64_t kRecordOverhead = 64 << 10;
// Resynchronisations that lead nowhere before the worker gives up: a defect, not weather.
constexpr int kMaxFruitlessResyncs = 5;
// A transfer of which nothing arrives is tried again on the same session this often; a broken session ends them all anyway. Then an upload
// is given up, and for a download a new plan is asked for.
constexpr int kMaxTransferFailures = 20;

std::string Hex(absl::string_view bytes) {
  return bytes.empty() ? "none" : absl::BytesToHexString(bytes.substr(0, 8));
}

uint64_t SaturatingMultiply(uint64_t a, uint64_t b) {
  uint64_t product;
  return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

// What lines do, for as long as they please.
bool IsWeather(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kCancelled:
      return true;
    default:
      return false;
  }
}

// What a line or a coordinator in trouble may say for a while; one that does so for good has a defect.
bool IsTrouble(const absl::Status& status) {
  return absl::IsInternal(status) || absl::IsUnknown(status);
}

// Errors after which another attempt at the same transfer makes sense.
bool IsTransient(const absl::Status& status) {
  return IsWeather(status) || IsTrouble(status) || absl::IsDataLoss(status) || absl::IsOutOfRange(status);
}

}  // namespace

absl::StatusOr<std::vector<std::string>> SplitCommitRecords(absl::string_view bytes, uint64_t count) {
  std::vector<std::string> records;
  while (!bytes.empty()) {
    if (bytes.size() < 4) return absl::DataLossError("commit records: a truncated length");
    uint64_t length = 0;
    for (int i = 0; i < 4; ++i) length |= static_cast<uint64_t>(static_cast<uint8_t>(bytes[i])) << (8 * i);
    bytes.remove_prefix(4);
    if (length > bytes.size()) {
      return absl::DataLossError(
          absl::StrCat("commit records: record ", records.size(), " says ", length, " bytes where ", bytes.size(), " follow"));
    }
    if (records.size() == count) return absl::DataLossError(absl::StrCat("commit records: more than the ", count, " asked for"));
    records.emplace_back(bytes.substr(0, length));
    bytes.remove_prefix(length);
  }
  if (records.size() != count) {
    return absl::DataLossError(absl::StrCat("commit records: ", records.size(), " where ", count, " were asked for"));
  }
  return records;
}

// --- Reaching the current state ---

void WorkerEngine::OnMessage(v1::SyncPlan plan) {
  if (!Mine(plan.run_id()) || !run_->prepared) return;
  awaiting_plan_ = false;
  while (!commits_.empty() && commits_.front().round() <= plan.target_round()) {
    commits_.pop_front();
    fetched_record_.reset();
  }
  // The plan has the say, also against what was heard before: a log that was taken back (`tributary journal truncate-to`) commits rounds
  // again that this worker has seen closed.
  closed_round_ = commits_.empty() ? plan.target_round() : commits_.back().round();
  if (download_.id != 0) {
    Do(action::CancelTransfer{download_.id}, "a newer plan replaces it");
    download_ = {};
  }

  if (pending_.has_value() && pending_->round <= plan.target_round()) {
    // Its receipt was lost with a session; the plan says what became of it.
    const bool known = plan.has_last_receipt() && plan.last_receipt().round() == pending_->round;
    SettlePending(known && plan.last_receipt().result() == v1::Receipt::INCLUDED,
                  known ? "the plan carries the receipt that was missed" : "the round was committed without this update");
  }

  if (!plan.reason().empty())
    Note(LogLevel::kWarning, absl::StrCat("the coordinator has this worker start from a snapshot: ", plan.reason()));
  if (!plan.needs_snapshot() && !held_.has_value()) return Resynchronize("no state is held and the plan has no snapshot");
  Sync sync;
  sync.snapshot_loaded = !plan.needs_snapshot();
  sync.plan = std::move(plan);
  sync_ = std::move(sync);
}

void WorkerEngine::AdvanceSync() {
  Sync& sync = *sync_;
  const v1::SyncPlan& plan = sync.plan;
  if (!sync.snapshot_loaded) {
    if (sync.snapshot.has_value()) {
      if (work_ != Work::kNone) return;
      Do(action::LoadSnapshot{StartWork(Work::kLoad), *std::move(sync.snapshot)}, "the snapshot has arrived");
      sync.snapshot.reset();
    } else if (work_ == Work::kLoad) {
      return;
    } else if (plan.snapshot_round() == 0 && run_->offer.spec().model().initial_weights().empty() && plan.reason().empty() &&
               fruitless_resyncs_ == 0) {
      // A seed gives everybody the same bits, and the coordinator checks the hash in Ready: only if that went wrong is state[0] worth a
      // download.
      if (work_ == Work::kNone) Do(action::InitializeState{StartWork(Work::kLoad)}, "the run starts from a seed");
    } else {
      v1::DownloadRequest request;
      request.set_run_id(plan.run_id());
      request.set_snapshot_round(plan.snapshot_round());
      StartDownload(std::move(request), SaturatingMultiply(SaturatingMultiply(4, 1 + run_->slots), run_->parameters) + kRecordOverhead,
                    absl::StrCat("the snapshot of round ", plan.snapshot_round(), " is missing"));
    }
    return;
  }
  if (work_ == Work::kApply || work_ == Work::kLoad) return;
  if (held_->round >= plan.target_round()) {
    sync_.reset();
    SendReady("the current state is reached");
    return;
  }
  const uint64_t first = held_->round + 1;
  if (sync.records.has_value()) {
    if (work_ != Work::kNone) return;
    applying_through_ = plan.target_round();
    expected_hash_.clear();
    report_after_apply_ = false;
    Do(action::ApplyCommits{StartWork(Work::kApply), *std::move(sync.records), ""},
       absl::StrCat("commits ", first, " to ", plan.target_round(), " have arrived"));
    sync.records.reset();
    return;
  }
  v1::DownloadRequest request;
  request.set_run_id(plan.run_id());
  request.mutable_commits()->set_first(first);
  request.mutable_commits()->set_last(plan.target_round());
  StartDownload(std::move(request), SaturatingMultiply(plan.target_round() - first + 1, MaxCommitBytes()),
                absl::StrCat("commits ", first, " to ", plan.target_round(), " are missing"));
}

uint64_t WorkerEngine::MaxCommitBytes() const {
  return SaturatingMultiply(8, run_->parameters) + kRecordOverhead;
}

void WorkerEngine::StartDownload(v1::DownloadRequest request, uint64_t max_bytes, absl::string_view reason) {
  if (!welcomed_ || download_.id != 0 || now_ < download_.retry_at) return;
  download_.id = ++last_number_;
  if (sync_.has_value() && !download_.broke_off) Note(LogLevel::kInfo, absl::StrCat("downloading: ", reason));
  Do(action::Download{download_.id, std::move(request), max_bytes}, reason);
}

void WorkerEngine::On(event::Downloaded downloaded) {
  if (downloaded.transfer != download_.id || download_.id == 0) return;
  download_.id = 0;
  NoteArrived(download_, downloaded.arrived);
  absl::Status status = downloaded.bytes.status();
  if (status.ok()) {
    if (sync_.has_value() && !sync_->snapshot_loaded) {
      sync_->snapshot = *std::move(downloaded.bytes);
    } else {
      const uint64_t count = sync_.has_value() ? sync_->plan.target_round() - held_->round : 1;
      absl::StatusOr<std::vector<std::string>> records = SplitCommitRecords(*downloaded.bytes, count);
      status = records.status();
      if (status.ok() && sync_.has_value()) {
        sync_->records = *std::move(records);
      } else if (status.ok() && !commits_.empty()) {
        fetched_record_ = std::move(records->front());
      }
    }
  }
  if (status.ok()) {
    download_ = {};
    return;
  }
  // The coordinator may refuse a download because those of broken connections have not ended there yet.
  const bool trouble = IsTrouble(status) || absl::IsResourceExhausted(status);
  const bool again = trouble || IsTransient(status);
  const bool new_plan = !again || (download_.failures + 1) % kMaxTransferFailures == 0;
  if (!new_plan) return RetryLater(download_, status, "a download");
  const std::string reason = absl::StrCat("a download failed: ", status.message());
  Note(LogLevel::kWarning, reason);
  download_.retry_at = now_ + Backoff(download_.failures++);
  const bool moved = std::exchange(download_.moved, false);
  // What a slow line was fetching may have been pruned meanwhile. A new plan names what is there, and no line is bad enough to give up:
  // only what nobody can fetch is a defect.
  if (absl::IsNotFound(status) && std::exchange(download_.arrived, 0) > 0) return AskForPlan(reason);
  if (IsWeather(status) || (trouble && moved)) return AskForPlan(reason);
  Resynchronize(reason);
}

void WorkerEngine::On(event::SnapshotLoaded loaded) {
  if (!TakeWork(loaded.work)) return;
  if (!loaded.held.ok()) {
    Note(LogLevel::kError, absl::StrCat("the snapshot received is not usable: ", loaded.held.status().message()));
    if (sync_.has_value()) Resynchronize("the snapshot received is not usable");
    return;
  }
  held_ = *std::move(loaded.held);
  if (sync_.has_value() && sync_->plan.needs_snapshot() && sync_->plan.snapshot_round() == held_->round) sync_->snapshot_loaded = true;
}

void WorkerEngine::Resynchronize(absl::string_view reason) {
  if (++fruitless_resyncs_ > kMaxFruitlessResyncs) {
    return Exit(WithExitCode(absl::DataLossError(absl::StrCat("this worker could not reach the coordinator's state in ",
                                                              kMaxFruitlessResyncs, " attempts; the last failed because ", reason,
                                                              ". Look at the coordinator's log, check that both run the same version, then "
                                                              "start the worker again")),
                             ExitCode::kDamaged),
                "resynchronising leads nowhere");
  }
  AskForPlan(reason);
}

void WorkerEngine::AskForPlan(absl::string_view reason) {
  sync_.reset();
  commits_.clear();
  fetched_record_.reset();
  round_start_.reset();
  open_round_ = 0;
  // A download that has failed waits its time under the new plan too.
  CancelTransfers();
  awaiting_plan_ = true;
  SendReady(reason);
}

void WorkerEngine::SendReady(absl::string_view reason) {
  v1::WorkerMessage message;
  message.mutable_ready()->set_run_id(run_->offer.run_id());
  if (held_.has_value()) {
    message.mutable_ready()->set_round(held_->round);
    message.mutable_ready()->set_state_hash(held_->hash);
  }
  SendMessage(std::move(message), reason);
}

// --- Commits ---

uint64_t WorkerEngine::NextCommitRound() const {
  uint64_t newest = held_.has_value() ? held_->round : 0;
  if (work_ == Work::kApply) newest = std::max(newest, applying_through_);
  if (sync_.has_value()) newest = std::max(newest, sync_->plan.target_round());
  if (!commits_.empty()) newest = std::max(newest, commits_.back().round());
  return newest + 1;
}

void WorkerEngine::OnMessage(v1::Commit commit) {
  // While a plan is awaited it will cover this commit; the pending update's fate comes with it too.
  if (!Mine(commit.run_id()) || !run_->prepared || awaiting_plan_ || (!held_.has_value() && !sync_.has_value())) return;
  closed_round_ = std::max(closed_round_, commit.round());
  if (pending_.has_value() && pending_->round <= commit.round()) SettlePending(false, "the round was committed and no receipt came");
  if (open_round_ <= commit.round()) open_round_ = 0;
  if (round_start_.has_value() && round_start_->round() <= commit.round()) round_start_.reset();
  const uint64_t next = NextCommitRound();
  if (commit.round() < next) return;
  if (commit.round() > next) {
    return Resynchronize(absl::StrCat("commit ", commit.round(), " arrived where ", next, " was expected"));
  }
  commits_.push_back(std::move(commit));
}

void WorkerEngine::AdvanceCommits() {
  v1::Commit& commit = commits_.front();
  std::string record;
  if (!commit.record().empty()) {
    record = std::move(*commit.mutable_record());
  } else if (fetched_record_.has_value()) {
    record = *std::move(fetched_record_);
    fetched_record_.reset();
  } else {
    v1::DownloadRequest request;
    request.set_run_id(commit.run_id());
    request.mutable_commits()->set_first(commit.round());
    request.mutable_commits()->set_last(commit.round());
    return StartDownload(std::move(request), MaxCommitBytes(), absl::StrCat("commit ", commit.round(), " is too long for the session"));
  }
  applying_through_ = commit.round();
  expected_hash_ = commit.state_hash();
  report_after_apply_ = commit.report();
  std::vector<std::string> records;
  records.push_back(std::move(record));
  Do(action::ApplyCommits{StartWork(Work::kApply), std::move(records), expected_hash_},
     absl::StrCat("commit ", commit.round(), " has arrived"));
  commits_.pop_front();
}

void WorkerEngine::On(event::CommitsApplied applied) {
  if (!TakeWork(applied.work)) return;
  held_ = std::move(applied.held);
  if (!applied.status.ok()) {
    Note(LogLevel::kError, absl::StrCat("commit ", held_->round + 1, " cannot be applied: ", applied.status.message()));
    if (welcomed_) Resynchronize("a commit cannot be applied");
    return;
  }
  if (!expected_hash_.empty() && held_->hash != expected_hash_) {
    Do(action::CountMismatch{}, "replica differs");
    Note(LogLevel::kError, absl::StrCat("after commit ", held_->round, " this replica's state is ", absl::BytesToHexString(held_->hash),
                                        " where the coordinator's is ", absl::BytesToHexString(expected_hash_), "; asking for a snapshot"));
    // The coordinator sees the hash in Ready, and decides: a snapshot, unless it was the message that was wrong.
    if (welcomed_) Resynchronize("the state hash differs from the coordinator's");
    return;
  }
  fruitless_resyncs_ = 0;
  if (report_after_apply_ && welcomed_) report_due_ = true;
}

void WorkerEngine::On(event::Evaluated evaluated) {
  if (!TakeWork(evaluated.work) || !welcomed_ || !held_.has_value()) return;
  v1::WorkerMessage message;
  v1::StateReport& report = *message.mutable_state_report();
  report.set_run_id(run_->offer.run_id());
  report.set_round(held_->round);
  report.set_state_hash(held_->hash);
  if (evaluated.loss.ok()) {
    report.set_val_loss(*evaluated.loss);
  } else {
    Note(LogLevel::kError, absl::StrCat("evaluation of round ", held_->round, " failed: ", evaluated.loss.status().message()));
  }
  SendMessage(std::move(message), "the coordinator asked for a report");
}

// --- Rounds ---

void WorkerEngine::OnMessage(v1::RoundStart start) {
  if (!Mine(start.run_id()) || !run_->prepared || start.round() <= closed_round_) return;
  if (work_ == Work::kTrain && training_.round() == start.round() && training_.base_state_hash() == start.base_state_hash()) {
    // Asked again over a new session while still at it.
    if (!start.update_held()) open_round_ = start.round();
    return;
  }
  round_start_ = std::move(start);
}

void WorkerEngine::AdvanceRound() {
  const v1::RoundStart start = *std::move(round_start_);
  round_start_.reset();
  const uint64_t round = start.round();
  const bool from_held = held_.has_value() && start.base_round() == held_->round && start.base_state_hash() == held_->hash;
  const bool from_previous = held_.has_value() && start.base_round() + 1 == held_->round && start.base_state_hash() == held_->previous_hash;
  if (!held_.has_value() || held_->round + 1 != round || !(from_held || from_previous)) {
    if (awaiting_plan_) return;
    return Resynchronize(absl::StrCat("round ", round, " starts from state ", Hex(start.base_state_hash()), " of round ",
                                      start.base_round(), ", held is ",
                                      held_.has_value() ? absl::StrCat(Hex(held_->hash), " of round ", held_->round) : "nothing"));
  }
  awaiting_plan_ = false;
  fruitless_resyncs_ = 0;
  if (start.update_held()) return Note(LogLevel::kInfo, absl::StrCat("the coordinator already has this site's update of round ", round));
  open_round_ = round;
  if (pending_.has_value() && pending_->round == round && pending_->base_hash == start.base_state_hash())
    return;  // AdvanceUpload sends it again
  if (pending_.has_value()) SettlePending(false, absl::StrCat("round ", round, " starts and no receipt came"));
  if (start.local_steps() < 1 || start.local_steps() > options_.consent.max_local_steps()) {
    return SkipRound(round,
                     absl::StrCat("consent.max_local_steps of this site allows at most ", options_.consent.max_local_steps(),
                                  "; the round asks for ", start.local_steps()),
                     "the round is outside the consent");
  }
  if (!std::isfinite(start.learning_rate()) || start.learning_rate() < 0) {
    return SkipRound(round, absl::StrCat("learning rate ", start.learning_rate(), " is not usable"), "the round is not usable");
  }
  training_ = start;
  Do(action::Train{StartWork(Work::kTrain), start}, absl::StrCat("round ", round, " starts"));
}

// In a pipelined run the next round's base is the state held: while this round's update and commit travel, its direction is computed.
void WorkerEngine::ComputeAhead() {
  const uint64_t next = training_.round() + 1;
  if (!pending_.has_value() || pending_->round != training_.round() || !Mine(training_.run_id()) || !pending_sent_ ||
      computed_ahead_ >= next || !held_.has_value() || held_->round + 1 != training_.round() || training_.next_local_steps() < 1 ||
      training_.next_local_steps() > options_.consent.max_local_steps() || !std::isfinite(training_.next_learning_rate()) ||
      training_.next_learning_rate() < 0) {
    return;
  }
  computed_ahead_ = next;
  action::ComputeAhead ahead{StartWork(Work::kComputeAhead), {}};
  ahead.start.set_run_id(training_.run_id());
  ahead.start.set_round(next);
  ahead.start.set_learning_rate(training_.next_learning_rate());
  ahead.start.set_local_steps(training_.next_local_steps());
  ahead.start.set_base_round(held_->round);
  ahead.start.set_base_state_hash(held_->hash);
  Do(std::move(ahead), absl::StrCat("round ", next, " will be computed from the state held"));
}

void WorkerEngine::On(event::ComputedAhead computed) {
  TakeWork(computed.work);
}

void WorkerEngine::On(event::Trained trained) {
  if (!TakeWork(trained.work)) return;
  const uint64_t round = training_.round();
  if (!trained.update.ok()) {
    const absl::Status& status = trained.update.status();
    if (absl::IsAborted(status)) {
      return Exit(Annotate(status, absl::StrCat("the update of round ", round, " is not sent, for a restart would forget it")),
                  "the state folder cannot be written");
    }
    Note(LogLevel::kError, absl::StrCat("round ", round, " has no update of this site: ", status.message()));
    if (open_round_ == round) {
      // The details may tell of the data, and those stay here.
      SkipRound(round,
                status.code() == absl::StatusCode::kFailedPrecondition ? "the gradient is not finite"
                                                                       : "training failed; the site's own log says why",
                "there is no update to send");
    }
    return;
  }
  pending_ = PendingUpdate{round, training_.base_state_hash(), *std::move(trained.update)};
  pending_sent_ = false;
  if (round <= closed_round_) SettlePending(false, absl::StrCat("round ", round, " was committed before training ended"));
}

void WorkerEngine::AdvanceUpload() {
  if (!pending_.has_value() || pending_sent_ || !welcomed_ || open_round_ != pending_->round) return;
  const TrainedUpdate& update = pending_->update;
  const std::string& run_id = run_->offer.run_id();
  if (update.payload->size() <= max_inline_bytes_) {
    pending_sent_ = true;
    v1::WorkerMessage message;
    v1::Update& body = *message.mutable_update();
    body.set_run_id(run_id);
    body.set_round(pending_->round);
    body.set_base_state_hash(pending_->base_hash);
    body.set_payload(*update.payload);
    *body.mutable_report() = update.report;
    return SendMessage(std::move(message), absl::StrCat("the update of round ", pending_->round, " is ready"));
  }
  if (upload_.id != 0 || now_ < upload_.retry_at) return;
  action::Upload upload;
  upload.transfer = upload_.id = ++last_number_;
  upload.header.mutable_id()->set_run_id(run_id);
  upload.header.mutable_id()->set_round(pending_->round);
  upload.header.mutable_id()->set_sha256(update.sha256);
  upload.header.set_total_bytes(update.payload->size());
  upload.header.set_base_state_hash(pending_->base_hash);
  *upload.header.mutable_report() = update.report;
  upload.payload = update.payload;
  Do(std::move(upload), absl::StrCat("the update of round ", pending_->round, " is ready and too long for the session"));
}

void WorkerEngine::On(event::Uploaded uploaded) {
  if (uploaded.transfer != upload_.id || upload_.id == 0) return;
  upload_.id = 0;
  NoteArrived(upload_, uploaded.arrived);
  if (!pending_.has_value()) return;
  if (uploaded.status.ok()) {
    pending_sent_ = true;
    upload_ = {};
    return;
  }
  if (IsTransient(uploaded.status) && upload_.failures < kMaxTransferFailures) return RetryLater(upload_, uploaded.status, "the upload");
  pending_sent_ = true;  // not again on this session
  if (uploaded.status.code() == absl::StatusCode::kFailedPrecondition) {
    // The round has closed meanwhile; a receipt or the commit says so too.
    return Note(LogLevel::kInfo, absl::StrCat("the upload of round ", pending_->round, " came too late: ", uploaded.status.message()));
  }
  Note(LogLevel::kError, absl::StrCat("the upload of round ", pending_->round, " failed: ", uploaded.status.message()));
  const uint64_t round = pending_->round;
  SettlePending(false, "the upload failed");
  SkipRound(round, "the upload failed", "the upload failed");
}

void WorkerEngine::OnMessage(const v1::Receipt& receipt) {
  if (!Mine(receipt.run_id())) return;
  Do(action::Count{receipt.result()}, "a receipt came");
  if (receipt.result() == v1::Receipt::REJECTED) {
    Note(LogLevel::kError, absl::StrCat("the coordinator rejected the update of round ", receipt.round(), ": ", receipt.reason()));
  } else if (receipt.result() == v1::Receipt::LATE) {
    Note(LogLevel::kInfo, absl::StrCat("the update of round ", receipt.round(), " came late; nothing of it is lost"));
  }
  if (!pending_.has_value() || pending_->round != receipt.round()) return;
  SettlePending(receipt.result() == v1::Receipt::INCLUDED, absl::StrCat("receipt: ", v1::Receipt::Result_Name(receipt.result())));
}

void WorkerEngine::SettlePending(bool included, absl::string_view reason) {
  Do(action::Settle{pending_->round, included}, reason);
  pending_.reset();
  if (upload_.id != 0) Do(action::CancelTransfer{upload_.id}, reason);
  upload_ = {};
}

void WorkerEngine::SkipRound(uint64_t round, absl::string_view told_to_coordinator, absl::string_view reason) {
  open_round_ = 0;
  v1::WorkerMessage message;
  message.mutable_update_skipped()->set_run_id(run_->offer.run_id());
  message.mutable_update_skipped()->set_round(round);
  message.mutable_update_skipped()->set_reason(std::string(told_to_coordinator));
  SendMessage(std::move(message), reason);
}

}  // namespace tributary::worker
