// The queue of runs, what operators ask and are told, and what anybody downloads.
#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "common/checksum.h"
#include "common/excerpt.h"
#include "common/exit_codes.h"
#include "common/files.h"
#include "common/log.h"
#include "common/status_macros.h"
#include "coordinator/coordinator_impl.h"
#include "coordinator/own_runs.h"
#include "coordinator/queue_bound.h"
#include "coordinator/run/disk_need.h"
#include "coordinator/run/extended_run.h"
#include "coordinator/run/memory_need.h"
#include "coordinator/run/run_sites.h"
#include "coordinator/run/run_status.h"
#include "coordinator/run/run_submission.h"
#include "coordinator/site_registry.h"
#include "optim/snapshot.h"
#include "proto/config/capabilities.h"
#include "proto/config/run_options.h"
#include "proto/durations.h"
#include "proto/protocol_version.h"
#include "proto/run_state.h"

namespace tributary::coordinator {
namespace {

constexpr size_t kMaxRunsListed = 1000;

}  // namespace

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

absl::StatusOr<CoordinatorImpl::Run*> CoordinatorImpl::FindLiveRun(const std::string& name) {
  if (failed_) {
    return StorageHasFailed();
  }
  Run* const run = FindRun(name);
  if (run == nullptr) {
    return absl::NotFoundError(absl::StrCat("no run ", name));
  }
  if (IsOver(run->journaled.state)) {
    return absl::FailedPreconditionError(absl::StrCat("run ", run->journaled.run_id, " is over: ", StateName(run->journaled.state)));
  }
  return run;
}

absl::Status CoordinatorImpl::CheckNameIsFree(const std::string& name, const Run* except) const {
  for (const Run& run : runs_) {
    if (&run != except && run.journaled.spec.name() == name && !IsOver(run.journaled.state)) {
      return absl::AlreadyExistsError(
          absl::StrCat("run ", run.journaled.run_id, " has this name and is not over; stop it first, or choose another name"));
    }
  }
  return absl::OkStatus();
}

ActiveRun* CoordinatorImpl::FindActive(const std::string& run_id) {
  const auto it = active_.find(run_id);
  return it == active_.end() ? nullptr : it->second.get();
}

ActiveRun* CoordinatorImpl::FindActiveFor(const std::string& site, const std::string& run_id) {
  ActiveRun* const run = FindActive(run_id);
  return run != nullptr && run->Takes(site) ? run : nullptr;
}

ActiveRun* CoordinatorImpl::RunOf(const std::string& site) {
  const auto it = absl::c_find_if(active_, [&site](const auto& run) { return run.second->Takes(site); });
  return it == active_.end() ? nullptr : it->second.get();
}

Membership& CoordinatorImpl::MembershipOf(const std::string& site) {
  const ActiveRun* const run = RunOf(site);
  return run == nullptr ? idle_ : members_.at(run->id());
}

// Whoever was submitted earlier has its sites first, also while it waits for others of them: so no run waits for ever.
const CoordinatorImpl::Run* CoordinatorImpl::RunAhead(const v1::RunSpec& spec, size_t place) const {
  for (size_t i = 0; i < runs_.size(); ++i) {
    const JournaledRun& other = runs_[i].journaled;
    if (i != place && !IsOver(other.state) && (i < place || active_.contains(other.run_id)) && ShareSites(spec, other.spec)) {
      return &runs_[i];
    }
  }
  return nullptr;
}

// Durable with the next write: of the state that comes of it.
void CoordinatorImpl::NoteAct(const std::string& run_id, absl::string_view kind, const OperatorAct& act) {
  deps_.journal->NoteEvent(run_id, {UnixMillis(), "", std::string(kind), 0, Excerpt(act.reason), act.operator_name});
}

std::optional<MemoryLimits> CoordinatorImpl::Room() const {
  const absl::StatusOr<MemoryLimits> limits = deps_.memory ? deps_.memory() : absl::UnavailableError("not asked");
  return limits.ok() ? std::make_optional(*limits) : std::nullopt;
}

LongUpdates CoordinatorImpl::LongUpdatesOf(const RunModel& model) const {
  const bool in_files =
      deps_.journal->KeepsFiles() && optim::FixedRecordBytes(model.options, model.layout).value_or(0) > config_.max_inline();
  return in_files ? LongUpdates::kInFiles : LongUpdates::kInMemory;
}

MemoryNeed CoordinatorImpl::NeedOf(const RunModel& model) const {
  return MemoryForRounds(model, MostMembers(model, SitesOf(model.spec, deps_.sites->size())), LongUpdatesOf(model));
}

absl::StatusOr<std::string> CoordinatorImpl::CheckDisk(const RunModel& model, uint64_t committed) const {
  const absl::StatusOr<uint64_t> free = FreeBytes(config_.data_dir());
  return free.ok() ? JudgeDisk(model, config_, MostMembers(model, SitesOf(model.spec, deps_.sites->size())), committed, *free) : "";
}

absl::Status CoordinatorImpl::CheckRoomToSubmit(const RunModel& model) const {
  const std::optional<MemoryLimits> room = Room();
  if (!room.has_value()) {
    return absl::OkStatus();
  }
  const std::string needs = absl::StrCat("run ", model.spec.name(), " needs, on the coordinator,");
  const Run* const ahead = RunAhead(model.spec, runs_.size());
  if (ahead == nullptr) {
    return CheckMemory(needs, NeedOf(model), *room);
  }
  // It is to wait behind another, and what that one holds will be free. Whether it fits then is looked at when it begins.
  TRIBUTARY_RETURN_IF_ERROR(CheckMemory(needs, NeedOf(model), {room->total, room->total, "all there is"}));
  return CheckMemory(absl::StrCat("beside run ", ahead->journaled.run_id, ", to submit run ", model.spec.name(), " needs"),
                     MemoryToSubmit(model), *room);
}

absl::Status CoordinatorImpl::CheckRoomToDownload(const RunModel& model) const {
  const std::optional<MemoryLimits> room = Room();
  return room.has_value() ? CheckMemory("this download needs, on the coordinator,", MemoryToSubmit(model), *room) : absl::OkStatus();
}

absl::Status CoordinatorImpl::CheckTakesRuns(absl::string_view verb) const {
  return failed_ || draining_
             ? absl::UnavailableError(absl::StrCat("the coordinator is shutting down; ", verb, " the run again when it is back"))
             : absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<Submission>> CoordinatorImpl::BeginSubmission(const v1::RunSpec& spec, const std::string& operator_name) {
  TRIBUTARY_RETURN_IF_ERROR(CheckTakesRuns("submit"));
  TRIBUTARY_RETURN_IF_ERROR(CheckQueue(*deps_.journal, operator_name));
  TRIBUTARY_RETURN_IF_ERROR(ValidateRunSpec(spec));
  TRIBUTARY_RETURN_IF_ERROR(CheckSites(spec, deps_.sites->Names()));
  TRIBUTARY_RETURN_IF_ERROR(CheckKeepsMetrics(spec, *deps_.journal));
  TRIBUTARY_RETURN_IF_ERROR(CheckNameIsFree(spec.name(), nullptr));
  TRIBUTARY_ASSIGN_OR_RETURN(RunModel model, RunModel::Of(spec));
  TRIBUTARY_RETURN_IF_ERROR(CheckRoomToSubmit(model));
  std::vector<std::string> warnings = WarningsOf(model, config_.max_update(), SitesOf(spec, deps_.sites->size()));
  TRIBUTARY_ASSIGN_OR_RETURN(warnings.emplace_back(), CheckDisk(model, 0));
  TRIBUTARY_ASSIGN_OR_RETURN(SharedBytes weights, OpenInitialWeights(model, InitialWeightsFolder(config_)));
  JournaledRun run{NewRunId(spec.name(), UnixMillis(), runs_.size()), WithoutNewDefaults(spec), v1::SUBMITTED, /*reason=*/"", UnixMillis()};
  return RunSubmission::Create(std::move(run), std::move(model), std::move(weights), std::move(warnings), &store_);
}

absl::StatusOr<v1::RunStatus> CoordinatorImpl::EndSubmission(Submission& prepared, const std::string& operator_name) {
  TRIBUTARY_RETURN_IF_ERROR(CheckTakesRuns("submit"));
  auto& submission = static_cast<RunSubmission&>(prepared);
  const JournaledRun& run = submission.run();
  TRIBUTARY_RETURN_IF_ERROR(CheckNameIsFree(run.spec.name(), nullptr));
  TRIBUTARY_RETURN_IF_ERROR(CheckQueue(*deps_.journal, operator_name));
  // A half-stored run is marked as failed at the next start.
  TRIBUTARY_RETURN_IF_ERROR(Annotate(deps_.journal->AddRun(run), "the run could not be stored"));
  NoteAct(run.run_id, "submitted", {operator_name, ""});
  TRIBUTARY_RETURN_IF_ERROR(Annotate(deps_.journal->AddSnapshot(run.run_id, submission.Take()), "the run could not be stored"));
  LogInfo("coordinator", "run ", run.run_id, " submitted by ", operator_name, ": ", submission.model().layout.size(), " parameters, ",
          run.spec.rounds(), " rounds");
  runs_.push_back(Run{run, std::nullopt});
  ActivateWaiting();
  AfterChange();
  return StatusWith(submission.warnings(), *FindRun(run.run_id));
}

absl::StatusOr<v1::RunStatus> CoordinatorImpl::ExtendRun(const std::string& name, uint64_t rounds, const OperatorAct& act) {
  TRIBUTARY_RETURN_IF_ERROR(CheckTakesRuns("extend"));
  Run* const run = FindRun(name);
  if (run == nullptr) {
    return absl::NotFoundError(absl::StrCat("no run ", name));
  }
  const std::string run_id = run->journaled.run_id;
  // What arrived before may end it.
  if (ActiveRun* const active = FindActive(run_id); active != nullptr && !active->TakeHeldUpdates()) {
    return StorageHasFailed();
  }
  AfterChange();
  ActiveRun* const active = FindActive(run_id);
  TRIBUTARY_ASSIGN_OR_RETURN(const uint64_t committed, deps_.journal->LastCommit(run_id));
  const JournaledRun& before = active == nullptr ? run->journaled : active->journaled();
  TRIBUTARY_ASSIGN_OR_RETURN(const std::optional<uint64_t> enough_at, EnoughAt(*deps_.journal, before, committed));
  TRIBUTARY_ASSIGN_OR_RETURN(const JournaledRun extended, Extended(before, rounds, enough_at, act));
  TRIBUTARY_ASSIGN_OR_RETURN(const RunModel model, RunModel::Of(extended.spec));
  TRIBUTARY_ASSIGN_OR_RETURN(const std::string warning, CheckDisk(model, committed));
  LogInfo("coordinator", "run ", run_id, " is extended by ", act.operator_name, " from ", run->journaled.spec.rounds(), " to ", rounds,
          " rounds");
  if (active == nullptr) {
    TRIBUTARY_RETURN_IF_ERROR(ExtendQueued(*run, extended, act));
  } else {
    TRIBUTARY_RETURN_IF_ERROR(active->Extend(rounds, act));
    run->journaled.spec = extended.spec;
    AfterChange();
  }
  return StatusWith({warning}, *FindRun(run_id));
}

absl::Status CoordinatorImpl::ExtendQueued(Run& run, const JournaledRun& extended, const OperatorAct& act) {
  const std::string& run_id = run.journaled.run_id;
  TRIBUTARY_RETURN_IF_ERROR(CheckNameIsFree(run.journaled.spec.name(), &run));
  if (IsOver(run.journaled.state)) {
    TRIBUTARY_RETURN_IF_ERROR(CheckQueue(*deps_.journal, act.operator_name));
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<JournaledSnapshot> snapshots, deps_.journal->Snapshots(run_id));
  if (snapshots.empty() || !store_.Exists(snapshots.back().file)) {
    return absl::FailedPreconditionError(absl::StrCat("the last state of run ", run_id, " is not kept any more: it cannot be extended"));
  }
  NoteAct(run_id, "extended", act);
  if (const absl::Status replaced = deps_.journal->ReplaceRun(extended); !Survives(replaced)) {
    return replaced;
  }
  run.journaled = extended;
  run.ended.reset();
  OnStandingChanged(run_id);
  ActivateWaiting();
  AfterChange();
  return absl::OkStatus();
}

v1::RunStatus CoordinatorImpl::StatusWith(const std::vector<std::string>& warnings, Run& run) {
  v1::RunStatus status = StatusOf(run);
  for (const std::string& warning : warnings) {
    if (!warning.empty()) {
      LogWarning("coordinator", "run ", run.journaled.run_id, ": ", warning);
      status.add_warnings(warning);
    }
  }
  return status;
}

absl::Status CoordinatorImpl::Activate(const Run& run, ActiveRun::Start start) {
  ActiveRun::Dependencies dependencies;
  dependencies.clock = deps_.clock;
  dependencies.journal = deps_.journal;
  dependencies.snapshots = &store_;
  dependencies.metrics = deps_.metrics;
  dependencies.environment = this;
  dependencies.sites = SitesOf(run.journaled.spec, deps_.sites->size());
  TRIBUTARY_ASSIGN_OR_RETURN(const RunModel model, RunModel::Of(run.journaled.spec));
  if (const std::optional<MemoryLimits> room = Room(); room.has_value()) {
    const bool is_new = start == ActiveRun::Start::kNew;
    TRIBUTARY_RETURN_IF_ERROR(CheckMemory(absl::StrCat("run ", run.journaled.run_id, is_new ? " needs" : ": to take it up again needs"),
                                          is_new ? NeedOf(model) : MemoryToHold(model, LongUpdatesOf(model)), *room));
  }
  Membership& members = members_.try_emplace(run.journaled.run_id, DurationOf(config_.lease())).first->second;
  dependencies.membership = &members;
  absl::StatusOr<std::unique_ptr<ActiveRun>> opened = ActiveRun::Open(run.journaled, config_, start, dependencies);
  if (!opened.ok()) {
    members_.erase(run.journaled.run_id);
    return opened.status();
  }
  ActiveRun& active = **opened;
  active_.emplace(active.id(), *std::move(opened));
  idle_.Move([&active](const std::string& site) { return active.Takes(site); }, members);
  counted_membership_.reset();
  for (const auto& [site, session] : sessions_) {
    // What its Hello said it holds is of an earlier run: a new one is held by nobody, and one that goes on was offered to nobody yet.
    if (session.software_version.has_value() && active.Takes(site)) {
      active.Offer(site, {*session.software_version, session.capabilities, std::nullopt});
    }
  }
  active.OnMembersChanged();
  return absl::OkStatus();
}

// Takes up every run of the queue whose sites are free. One that cannot be opened fails, and those behind it have their turn.
void CoordinatorImpl::ActivateWaiting() {
  for (size_t i = 0; i < runs_.size() && !draining_ && !failed_; ++i) {
    Run& run = runs_[i];
    if (run.journaled.state != v1::SUBMITTED || active_.contains(run.journaled.run_id) || RunAhead(run.journaled.spec, i) != nullptr) {
      continue;
    }
    const absl::Status activated = Activate(run, ActiveRun::Start::kNew);
    if (activated.ok()) {
      continue;
    }
    if (ExitCodeOf(activated) == ExitCode::kStorage) {
      Survives(activated);
      return;
    }
    LogError("coordinator", "run ", run.journaled.run_id, " cannot start: ", activated.message());
    if (!Survives(EndQueued(run, v1::FAILED, absl::StrCat("it cannot start: ", activated.message())))) {
      return;
    }
    ShowStanding(StatusOf(run), *deps_.metrics);
  }
}

void CoordinatorImpl::Retire(const std::string& run_id) {
  const auto it = active_.find(run_id);
  const std::unique_ptr<ActiveRun> ended = std::move(it->second);
  active_.erase(it);
  Run& run = *FindRun(ended->id());
  run.journaled = ended->journaled();
  run.ended = ended->Status();
  members_.at(ended->id()).Move([](const std::string&) { return true; }, idle_);
  members_.erase(ended->id());
  counted_membership_.reset();
  OnStandingChanged(ended->id());
}

absl::Status CoordinatorImpl::EndQueued(Run& run, v1::RunState state, const std::string& reason) {
  const int64_t finished = UnixMillis();
  TRIBUTARY_RETURN_IF_ERROR(deps_.journal->SetRunState(run.journaled.run_id, state, reason, finished));
  run.journaled.state = state;
  run.journaled.reason = reason;
  run.journaled.finished_unix_ms = finished;
  CountEnd(state, *deps_.metrics);
  OnStandingChanged(run.journaled.run_id);
  return absl::OkStatus();
}

absl::StatusOr<v1::RunStatus> CoordinatorImpl::ActOn(const std::string& name, absl::string_view if_queued,
                                                     absl::FunctionRef<absl::Status(ActiveRun&)> act) {
  TRIBUTARY_ASSIGN_OR_RETURN(const Run* const run, FindLiveRun(name));
  const std::string run_id = run->journaled.run_id;
  ActiveRun* const active = FindActive(run_id);
  if (active == nullptr) {
    return absl::FailedPreconditionError(absl::StrCat("run ", run_id, " is queued and has not begun; ", if_queued));
  }
  TRIBUTARY_RETURN_IF_ERROR(act(*active));
  AfterChange();
  return GetRun(run_id);
}

absl::StatusOr<v1::RunStatus> CoordinatorImpl::PauseRun(const std::string& name, const OperatorAct& act) {
  return ActOn(name, "pause it once it has, or stop it", [&act](ActiveRun& run) { return run.Pause(act); });
}

absl::StatusOr<v1::RunStatus> CoordinatorImpl::ReadmitSite(const std::string& name, const std::string& site, const OperatorAct& act) {
  return ActOn(name, "it has quarantined nobody", [&](ActiveRun& run) { return run.ReadmitSite(site, act); });
}

absl::StatusOr<v1::RunStatus> CoordinatorImpl::ResumeRun(const std::string& name, const OperatorAct& act) {
  return ActOn(name, "it is not paused", [&act](ActiveRun& run) { return run.Resume(act); });
}

absl::StatusOr<v1::RunStatus> CoordinatorImpl::StopRun(const std::string& name, const OperatorAct& act) {
  TRIBUTARY_ASSIGN_OR_RETURN(Run* const run, FindLiveRun(name));
  const std::string run_id = run->journaled.run_id;
  if (ActiveRun* const active = FindActive(run_id); active != nullptr) {
    TRIBUTARY_RETURN_IF_ERROR(active->Stop(act));
    AfterChange();
    return GetRun(run_id);
  }
  NoteAct(run_id, "stopped", act);
  if (const absl::Status ended = EndQueued(*run, v1::STOPPED, Told("stopped", act)); !Survives(ended)) {
    return ended;
  }
  ActivateWaiting();
  AfterChange();
  return GetRun(run_id);
}

v1::ListRunsResponse CoordinatorImpl::ListRuns() {
  v1::ListRunsResponse response;
  for (auto run = runs_.rbegin(); run != runs_.rend() && static_cast<size_t>(response.runs_size()) < kMaxRunsListed; ++run) {
    *response.add_runs() = StatusOf(*run);
  }
  return response;
}

absl::StatusOr<v1::RunStatus> CoordinatorImpl::GetRun(const std::string& name) {
  Run* const run = FindRun(name);
  if (run == nullptr) {
    return absl::NotFoundError(absl::StrCat("no run ", name));
  }
  return StatusOf(*run);
}

absl::StatusOr<v1::RunHistory> CoordinatorImpl::GetRunHistory(const std::string& name) {
  Run* const run = FindRun(name);
  if (run == nullptr) {
    return absl::NotFoundError(absl::StrCat("no run ", name));
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<CommitSummary> commits, deps_.journal->CommitSummaries(run->journaled.run_id));
  TRIBUTARY_ASSIGN_OR_RETURN(const JournaledEvaluations evaluations, deps_.journal->Evaluations(run->journaled.run_id));
  return MakeHistory(commits, evaluations);
}

v1::RunStatus CoordinatorImpl::StatusOf(Run& run) {
  if (const ActiveRun* const active = FindActive(run.journaled.run_id); active != nullptr) {
    return active->Status();
  }
  if (run.ended.has_value()) {
    return *run.ended;
  }
  absl::StatusOr<v1::RunStatus> status = StatusFromJournal(*deps_.journal, run.journaled);
  if (!status.ok()) {
    // Its state is still worth telling.
    LogError("coordinator", "run ", run.journaled.run_id, ": ", status.status().message());
    status = BareStatus(run.journaled);
  }
  if (IsOver(run.journaled.state)) {
    run.ended = *status;
  } else if (const Run* const ahead = RunAhead(run.journaled.spec, static_cast<size_t>(&run - runs_.data())); ahead != nullptr) {
    status->set_reason(absl::StrCat("queued behind run ", ahead->journaled.run_id));
  }
  return *std::move(status);
}

v1::ServerInfo CoordinatorImpl::GetServerInfo() {
  v1::ServerInfo info;
  info.set_software_version(TRIBUTARY_VERSION);
  info.set_protocol_version(kOldestProtocolVersion);
  info.set_newest_protocol_version(kNewestProtocolVersion);
  info.set_unix_ms(UnixMillis());
  if (const absl::StatusOr<uint64_t> free = FreeBytes(config_.data_dir()); free.ok()) {
    info.set_data_dir_free_bytes(*free);
  }
  for (const auto& [site, session] : sessions_) {
    if (session.software_version.has_value()) {
      info.add_sites_connected(site);
    }
  }
  return info;
}

std::vector<SiteStanding> CoordinatorImpl::GetSites() {
  std::vector<SiteStanding> sites;
  for (const std::string& name : deps_.sites->Names()) {
    SiteStanding& site = sites.emplace_back(StandingIn(MembershipOf(name), name));
    site.run_id = RunOf(name) == nullptr ? "" : RunOf(name)->id();
    site.software_version = sessions_.contains(name) ? sessions_.at(name).software_version.value_or("") : "";
    site.last_heard = last_heard_.contains(name) ? std::make_optional(last_heard_.at(name)) : std::nullopt;
  }
  return sites;
}

absl::StatusOr<SharedBytes> CoordinatorImpl::OpenDownload(const v1::DownloadRequest& request, const std::optional<std::string>& site) {
  Run* const run = FindRun(request.run_id());
  if (run == nullptr) {
    return absl::NotFoundError(absl::StrCat("no run ", request.run_id()));
  }
  if (site.has_value() && !TakesSite(run->journaled.spec, *site)) {
    return absl::PermissionDeniedError(absl::StrCat("run ", run->journaled.run_id, " is not one of site ", *site));
  }
  if (site.has_value() && run->journaled.state == v1::SUBMITTED && FindActive(run->journaled.run_id) == nullptr) {
    return absl::FailedPreconditionError(absl::StrCat("run ", run->journaled.run_id, " has not begun: it was offered to nobody yet"));
  }
  // A run that is not active has its log read for this call alone.
  std::optional<RunModel> model_of_other;
  std::optional<RunLog> log_of_other;
  ActiveRun* const active = FindActive(run->journaled.run_id);
  if (active == nullptr) {
    TRIBUTARY_ASSIGN_OR_RETURN(model_of_other, RunModel::Of(run->journaled.spec));
    log_of_other.emplace(run->journaled.run_id, &*model_of_other, deps_.journal, &store_);
  }
  RunLog& log = active != nullptr ? active->log() : *log_of_other;
  const RunModel& model = active != nullptr ? active->host().model() : *model_of_other;
  switch (request.what_case()) {
    case v1::DownloadRequest::kSnapshotRound:
      return log.Snapshot(request.snapshot_round());
    case v1::DownloadRequest::kNewestSnapshot:
      return log.NewestSnapshot();
    case v1::DownloadRequest::kCommits:
      return log.Commits(request.commits().first(), request.commits().last());
    case v1::DownloadRequest::kStateAtRound: {
      TRIBUTARY_RETURN_IF_ERROR(site.has_value() ? CheckIsBest(StatusOf(*run), request.state_at_round()) : absl::OkStatus());
      if (SharedBytes made = made_state_.Find(run->journaled.run_id, request.state_at_round()); made != nullptr) {
        return made;
      }
      TRIBUTARY_RETURN_IF_ERROR(CheckRoomToDownload(model));
      TRIBUTARY_ASSIGN_OR_RETURN(const optim::ReplicaState state, log.StateAt(request.state_at_round()));
      return made_state_.Keep(run->journaled.run_id, state.round, InMemory(optim::EncodeSnapshot(model.layout, state)));
    }
    case v1::DownloadRequest::WHAT_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError("a download names a snapshot, commits or a state");
}

}  // namespace tributary::coordinator
