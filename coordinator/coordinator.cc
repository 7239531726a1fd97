#include "coordinator/coordinator.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/checksum.h"
#include "common/exit_codes.h"
#include "common/files.h"
#include "common/log.h"
#include "common/status_macros.h"
#include "coordinator/coordinator_impl.h"
#include "optim/snapshot.h"
#include "proto/config/run_options.h"

namespace tributary::coordinator {
namespace {

// How long sites are told to stay away when the coordinator shuts down.
constexpr absl::Duration kReconnectAfter = absl::Seconds(2);

RoundPolicy PolicyOf(const v1::RunSpec& spec) {
  const v1::ParticipationSpec& participation = spec.participation();
  RoundPolicy policy;
  policy.rounds = spec.rounds();
  policy.min_workers = participation.min_workers();
  policy.max_workers = participation.max_workers();
  policy.quorum = participation.quorum();
  policy.min_deadline = DurationOf(participation.min_deadline());
  policy.max_deadline = DurationOf(participation.max_deadline());
  policy.wait_timeout = DurationOf(participation.wait_timeout());
  policy.evaluate_every = std::max<uint64_t>(1, spec.evaluation().every());
  policy.pipeline = spec.pipeline() != 0;
  return policy;
}

absl::Status ValidateConfig(const v1::CoordinatorConfig& config) {
  if (DurationOf(config.lease()) <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError("lease: must be more than 0s");
  }
  if (config.snapshots().every() == 0 || config.snapshots().keep() == 0) {
    return absl::InvalidArgumentError("snapshots: every and keep must be at least 1");
  }
  if (config.max_update() == 0) {
    return absl::InvalidArgumentError("max_update: must be at least 1 byte");
  }
  if (config.data_dir().empty()) {
    return absl::InvalidArgumentError("data_dir: must be set");
  }
  return absl::OkStatus();
}

}  // namespace

std::string Excerpt(const std::string& reason) {
  constexpr size_t kMaxReasonBytes = 500;
  size_t end = std::min(reason.size(), kMaxReasonBytes);
  while (end > 0 && end < reason.size() && (static_cast<unsigned char>(reason[end]) & 0xc0) == 0x80) {
    --end;
  }
  std::string line = reason.substr(0, end);
  std::replace_if(
      line.begin(), line.end(), [](char c) { return absl::ascii_iscntrl(static_cast<unsigned char>(c)); }, ' ');
  return line;
}

absl::Status StorageHasFailed() {
  return absl::UnavailableError("the coordinator is stopping after a storage error");
}

v1::CoordinatorMessage RunEndMessage(const v1::RunStatus& status) {
  v1::CoordinatorMessage message;
  v1::RunEnd& end = *message.mutable_run_end();
  end.set_run_id(status.run_id());
  end.set_state(status.state());
  end.set_reason(status.reason());
  end.set_round(status.round());
  end.set_state_hash(status.state_hash());
  return message;
}

absl::StatusOr<std::unique_ptr<Coordinator>> Coordinator::Create(const v1::CoordinatorConfig& config, Dependencies dependencies) {
  TRIBUTARY_RETURN_IF_ERROR(Annotate(ValidateConfig(config), "coordinator configuration"));
  auto coordinator = std::make_unique<CoordinatorImpl>(config, std::move(dependencies));
  TRIBUTARY_RETURN_IF_ERROR(coordinator->Recover());
  return coordinator;
}

CoordinatorImpl::CoordinatorImpl(const v1::CoordinatorConfig& config, Dependencies dependencies)
    : config_(config), deps_(std::move(dependencies)), store_(deps_.snapshots), membership_(DurationOf(config.lease())) {}

absl::Status CoordinatorImpl::Recover() {
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<JournaledRun> runs, deps_.journal->Runs());
  for (const JournaledRun& run : runs) {
    runs_.push_back(Run{run, std::nullopt});
  }
  for (Run& run : runs_) {
    if (active_ == nullptr && !IsOver(run.journaled.state) && run.journaled.state != v1::SUBMITTED) {
      TRIBUTARY_RETURN_IF_ERROR(Activate(run, true));
    }
  }
  // Only now that all is known to be well: what a crash left behind between a file and its journal entry. Activation may have committed a
  // round whose updates were all in, with a snapshot of its own, so the journal is asked after it.
  std::set<std::string> snapshot_files;
  for (const JournaledRun& run : runs) {
    TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<JournaledSnapshot> snapshots, deps_.journal->Snapshots(run.run_id));
    for (const JournaledSnapshot& snapshot : snapshots) {
      snapshot_files.insert(snapshot.file);
      snapshot_files.insert(snapshot.aggregator_file);
    }
  }
  TRIBUTARY_RETURN_IF_ERROR(store_.RemoveAllBut(snapshot_files));
  if (active_ == nullptr) {
    ActivateNext();
  }
  return absl::OkStatus();
}

bool CoordinatorImpl::Survives(const absl::Status& status) {
  if (status.ok()) {
    return true;
  }
  if (!failed_) {
    failed_ = true;
    LogError("coordinator", "stopping, so as to acknowledge nothing that is not durable: ", status.message());
    deps_.fatal(status);
  }
  return false;
}

// ---- The queue of runs ----

CoordinatorImpl::Run* CoordinatorImpl::FindRun(absl::string_view run) {
  for (Run& candidate : runs_) {
    if (candidate.journaled.run_id == run) {
      return &candidate;
    }
  }
  for (auto candidate = runs_.rbegin(); candidate != runs_.rend(); ++candidate) {
    if (candidate->journaled.spec.name() == run) {
      return &*candidate;
    }
  }
  return nullptr;
}

std::string CoordinatorImpl::NewRunId(const std::string& name) const {
  // No secret, only different from all others of this journal; the count makes it so even when the clock stands still.
  const std::string hash = DigestHex(Sha256(absl::StrCat(name, " ", UnixMillis(), " ", runs_.size())));
  return absl::StrCat(name, "-", hash.substr(0, 8));
}

absl::Status CoordinatorImpl::StoreInitialState(const JournaledRun& run, const RunModel& model, const optim::ReplicaState& state) {
  JournaledSnapshot snapshot;
  snapshot.round = 0;
  snapshot.state_hash = optim::StateHash(model.layout, state, model.threads);
  TRIBUTARY_ASSIGN_OR_RETURN(snapshot.file, store_.Save(run.run_id, 0, optim::EncodeSnapshot(model.layout, state)));
  TRIBUTARY_RETURN_IF_ERROR(deps_.journal->AddRun(run));
  return deps_.journal->AddSnapshot(run.run_id, snapshot);
}

absl::StatusOr<v1::RunStatus> CoordinatorImpl::SubmitRun(const v1::RunSpec& spec) {
  if (failed_ || draining_) {
    return absl::UnavailableError("the coordinator is shutting down; submit the run again when it is back");
  }
  TRIBUTARY_RETURN_IF_ERROR(ValidateRunSpec(spec));
  TRIBUTARY_RETURN_IF_ERROR(CheckMinWorkers(spec, config_.sites_size()));
  for (const Run& run : runs_) {
    if (run.journaled.spec.name() == spec.name() && !IsOver(run.journaled.state)) {
      return absl::AlreadyExistsError(
          absl::StrCat("run ", run.journaled.run_id, " of this name is not over; stop it first, or choose another name"));
    }
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const RunModel model, RunModel::Of(spec));
  if (model.max_payload > config_.max_update()) {
    LogWarning("coordinator", "run ", spec.name(), ": an update may take ", model.max_payload, " bytes, but max_update is ",
               config_.max_update());
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const optim::ReplicaState state, MakeInitialState(model));

  Run run;
  run.journaled.run_id = NewRunId(spec.name());
  run.journaled.spec = spec;
  run.journaled.state = v1::SUBMITTED;
  run.journaled.submitted_unix_ms = UnixMillis();
  // Not the end of the coordinator if this fails: nothing was promised yet, and a half-stored run is marked as failed at the next start.
  TRIBUTARY_RETURN_IF_ERROR(Annotate(StoreInitialState(run.journaled, model, state), "the run could not be stored"));
  const std::string run_id = run.journaled.run_id;
  LogInfo("coordinator", "run ", run_id, " submitted: ", model.layout.size(), " parameters, ", spec.rounds(), " rounds");
  runs_.push_back(std::move(run));
  if (active_ == nullptr) {
    ActivateNext();
  }
  return GetRun(run_id);
}

absl::Status CoordinatorImpl::SetRunState(Run& run, v1::RunState state, const std::string& reason) {
  const int64_t finished = IsOver(state) ? UnixMillis() : 0;
  TRIBUTARY_RETURN_IF_ERROR(deps_.journal->SetRunState(run.journaled.run_id, state, reason, finished));
  run.journaled.state = state;
  run.journaled.reason = reason;
  run.journaled.finished_unix_ms = finished;
  return absl::OkStatus();
}

absl::Status CoordinatorImpl::Activate(Run& run, bool recovering) {
  TRIBUTARY_ASSIGN_OR_RETURN(std::unique_ptr<RunHost> host,
                             RunHost::Open(run.journaled, config_.snapshots(), deps_.journal, &store_, deps_.clock));
  const std::string& run_id = run.journaled.run_id;
  RunPosition position = host->position();
  TRIBUTARY_ASSIGN_OR_RETURN(position.arrivals, deps_.journal->LatestArrivals(run_id));
  if (run.journaled.state == v1::PAUSED) {
    position.paused = run.journaled.reason;
  } else if (run.journaled.state == v1::DRAINING) {
    position.stop = run.journaled.reason;
  }
  auto active = std::make_unique<ActiveRun>(std::move(host), PolicyOf(run.journaled.spec), position, At());
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<CommitSummary> commits, deps_.journal->CommitSummaries(run_id));
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<v1::SiteStatus> totals, deps_.journal->SiteTotals(run_id));
  TRIBUTARY_ASSIGN_OR_RETURN(const auto losses, deps_.journal->ValidationLosses(run_id));
  active->accounts.Restore(commits, totals, losses);
  if (recovering) {
    TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<std::string> likely, active->host->LikelySites());
    for (const std::string& site : likely) {
      membership_.Expect(site, At().now);
    }
    LogInfo("coordinator", "run ", run_id, " continues after round ", active->host->round(), " with state ",
            absl::BytesToHexString(active->host->state_hash()));
  } else {
    TRIBUTARY_RETURN_IF_ERROR(SetRunState(run, v1::WAITING, "waiting for workers"));
    LogInfo("coordinator", "run ", run_id, " starts");
  }
  if (deps_.metrics != nullptr) {
    deps_.metrics->SetRound(active->host->round());
  }
  active_ = std::move(active);
  for (const auto& [site, session] : sessions_) {
    Offer(site);
  }
  Dispatch(MembersChanged{});
  return absl::OkStatus();
}

// Takes up the oldest run of the queue. One that cannot be opened fails, and the next has its turn.
void CoordinatorImpl::ActivateNext() {
  for (size_t i = 0; i < runs_.size() && active_ == nullptr && !draining_ && !failed_; ++i) {
    Run& run = runs_[i];
    if (run.journaled.state != v1::SUBMITTED) {
      continue;
    }
    const absl::Status activated = Activate(run, false);
    if (activated.ok()) {
      return;
    }
    if (ExitCodeOf(activated) == ExitCode::kStorage) {
      Survives(activated);
      return;
    }
    LogError("coordinator", "run ", run.journaled.run_id, " cannot start: ", activated.message());
    if (!Survives(SetRunState(run, v1::FAILED, absl::StrCat("it cannot start: ", activated.message())))) {
      return;
    }
    Notify(run.journaled.run_id);
  }
}

absl::StatusOr<CoordinatorImpl::Run*> CoordinatorImpl::FindLiveRun(const std::string& name) {
  if (failed_) {
    return StorageHasFailed();
  }
  Run* const run = FindRun(name);
  if (run == nullptr) {
    return absl::NotFoundError(absl::StrCat("no run ", name));
  }
  if (IsOver(run->journaled.state)) {
    return absl::FailedPreconditionError(
        absl::StrCat("run ", run->journaled.run_id, " is over: ", absl::AsciiStrToLower(v1::RunState_Name(run->journaled.state))));
  }
  return run;
}

// Durable with the state that comes of it.
void CoordinatorImpl::NoteOperator(const std::string& run_id, absl::string_view kind, const std::string& reason) {
  const uint64_t round = active_ != nullptr && active_->id() == run_id ? active_->host->round() : 0;
  deps_.journal->NoteEvent(
      run_id, {UnixMillis(), "", std::string(kind), round, absl::StrCat("by an operator", reason.empty() ? "" : ": ", Excerpt(reason))});
}

absl::StatusOr<v1::RunStatus> CoordinatorImpl::PauseRun(const std::string& name, const std::string& reason) {
  TRIBUTARY_ASSIGN_OR_RETURN(Run* const run, FindLiveRun(name));
  const std::string run_id = run->journaled.run_id;
  if (active_ == nullptr || active_->id() != run_id) {
    return absl::FailedPreconditionError(absl::StrCat("run ", run_id, " is queued and has not begun; pause it when it has, or stop it"));
  }
  if (active_->engine.stopping() || active_->engine.reporting()) {
    return absl::FailedPreconditionError(absl::StrCat("run ", run_id, " is ending: ", active_->engine.reason()));
  }
  // Pausing what is paused gives it another reason, if there is one.
  if (active_->engine.paused() && reason.empty()) {
    return GetRun(run_id);
  }
  const std::string why = reason.empty() ? "paused by an operator" : absl::StrCat("paused by an operator: ", Excerpt(reason));
  NoteOperator(run_id, "paused", reason);
  if (const absl::Status set = SetRunState(*run, v1::PAUSED, why); !Survives(set)) {
    return set;
  }
  Dispatch(PauseRequested{why});
  return GetRun(run_id);
}

absl::StatusOr<v1::RunStatus> CoordinatorImpl::ResumeRun(const std::string& name) {
  TRIBUTARY_ASSIGN_OR_RETURN(Run* const run, FindLiveRun(name));
  const std::string run_id = run->journaled.run_id;
  if (active_ == nullptr || active_->id() != run_id || !active_->engine.paused()) {
    return absl::FailedPreconditionError(
        absl::StrCat("run ", run_id, " is not paused: it is ", absl::AsciiStrToLower(v1::RunState_Name(StatusOf(*run).state()))));
  }
  NoteOperator(run_id, "resumed", "");
  const v1::RunState state = active_->engine.open_round() == 0 ? v1::WAITING : v1::RUNNING;
  if (const absl::Status set = SetRunState(*run, state, "resumed by an operator"); !Survives(set)) {
    return set;
  }
  Dispatch(ResumeRequested{});
  return GetRun(run_id);
}

absl::StatusOr<v1::RunStatus> CoordinatorImpl::StopRun(const std::string& name, const std::string& reason) {
  TRIBUTARY_ASSIGN_OR_RETURN(Run* const run, FindLiveRun(name));
  const std::string run_id = run->journaled.run_id;
  const std::string why = reason.empty() ? "stopped by an operator" : absl::StrCat("stopped by an operator: ", Excerpt(reason));
  NoteOperator(run_id, "stopped", reason);
  if (active_ != nullptr && active_->id() == run_id) {
    // Durable before it is answered, for the round in flight may outlive this process.
    if (const absl::Status set = SetRunState(*run, v1::DRAINING, why); !Survives(set)) {
      return set;
    }
    Dispatch(StopRequested{why});
  } else {
    if (const absl::Status set = SetRunState(*run, v1::STOPPED, why); !Survives(set)) {
      return set;
    }
    Notify(run_id);
  }
  return GetRun(run_id);
}

// ---- Downloads ----

absl::StatusOr<SharedBytes> CoordinatorImpl::OpenDownload(const v1::DownloadRequest& request, bool is_operator) {
  Run* const run = FindRun(request.run_id());
  if (run == nullptr) {
    return absl::NotFoundError(absl::StrCat("no run ", request.run_id()));
  }
  // A run that is not active has its log read for this call alone.
  std::optional<RunModel> model;
  std::optional<RunLog> log_of_other;
  RunLog* log = nullptr;
  if (active_ != nullptr && active_->id() == run->journaled.run_id) {
    log = &active_->host->log();
  } else {
    TRIBUTARY_ASSIGN_OR_RETURN(model, RunModel::Of(run->journaled.spec));
    log = &log_of_other.emplace(run->journaled.run_id, &*model, deps_.journal, &store_);
  }
  switch (request.what_case()) {
    case v1::DownloadRequest::kSnapshotRound:
      return log->Snapshot(request.snapshot_round());
    case v1::DownloadRequest::kCommits:
      return log->Commits(request.commits().first(), request.commits().last());
    case v1::DownloadRequest::kStateAtRound: {
      if (!is_operator) {
        return absl::PermissionDeniedError("state_at_round is for operators; a site downloads what its SyncPlan names");
      }
      TRIBUTARY_ASSIGN_OR_RETURN(const optim::ReplicaState state, log->StateAt(request.state_at_round()));
      const optim::Layout& layout = model.has_value() ? model->layout : active_->host->model().layout;
      return std::make_shared<const std::string>(optim::EncodeSnapshot(layout, state));
    }
    case v1::DownloadRequest::WHAT_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError("a download names a snapshot, commits or a state");
}

// ---- Shutting down ----

void CoordinatorImpl::Drain(std::function<void()> done) {
  drain_done_ = std::move(done);
  draining_ = true;
  if (active_ == nullptr || failed_) {
    FinishDrain();
    return;
  }
  LogInfo("coordinator", "shutting down after the round in flight, at most ", absl::FormatDuration(DurationOf(config_.drain_timeout())));
  deps_.post_after(DurationOf(config_.drain_timeout()), [this, alive = std::weak_ptr<bool>(alive_)] {
    if (!alive.expired()) {
      FinishDrain();
    }
  });
  Dispatch(DrainRequested{});
}

void CoordinatorImpl::FinishDrain() {
  if (drained_) {
    return;
  }
  drained_ = true;
  v1::CoordinatorMessage drain;
  drain.mutable_drain()->set_reconnect_after_ms(static_cast<uint32_t>(absl::ToInt64Milliseconds(kReconnectAfter)));
  const auto message = std::make_shared<const v1::CoordinatorMessage>(std::move(drain));
  std::map<std::string, Session> sessions = std::exchange(sessions_, {});
  for (const auto& [site, session] : sessions) {
    membership_.Dropped(site);
    session.sink->Send(message);
    session.sink->Close(absl::UnavailableError("the coordinator is shutting down"));
  }
  RefreshSessionMetrics();
  if (drain_done_) {
    std::exchange(drain_done_, nullptr)();
  }
}

}  // namespace tributary::coordinator
