#include "coordinator/coordinator.h"

#include <algorithm>
#include <iterator>
#include <set>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "common/excerpt.h"
#include "common/log.h"
#include "common/status_macros.h"
#include "coordinator/check_config.h"
#include "coordinator/coordinator_impl.h"
#include "coordinator/run/log_keeping.h"
#include "coordinator/run/receipts.h"
#include "coordinator/run/run_sites.h"
#include "coordinator/run/run_status.h"
#include "coordinator/site_registry.h"
#include "coordinator/welcome.h"
#include "proto/durations.h"
#include "proto/protocol_version.h"
#include "proto/run_state.h"

namespace tributary::coordinator {
namespace {

// How long sites are told to stay away when the coordinator shuts down.
constexpr absl::Duration kReconnectAfter = absl::Seconds(2);
// For sites to open the download of a commit.
constexpr absl::Duration kSnapshotDelay = absl::Milliseconds(200);

Coordinator::Dependencies WithMetrics(Coordinator::Dependencies dependencies) {
  if (dependencies.metrics == nullptr) {
    dependencies.metrics = &CoordinatorMetrics::None();
  }
  return dependencies;
}

}  // namespace

absl::StatusOr<v1::RunStatus> Coordinator::SubmitRun(const v1::RunSpec& spec, const std::string& operator_name) {
  TRIBUTARY_ASSIGN_OR_RETURN(const std::shared_ptr<Submission> submission, BeginSubmission(spec, operator_name));
  TRIBUTARY_RETURN_IF_ERROR(submission->Prepare());
  return EndSubmission(*submission, operator_name);
}

absl::StatusOr<std::unique_ptr<Coordinator>> Coordinator::Create(const v1::CoordinatorConfig& config, Dependencies dependencies) {
  TRIBUTARY_RETURN_IF_ERROR(Annotate(CheckConfig(config), "coordinator configuration"));
  auto coordinator = std::make_unique<CoordinatorImpl>(config, std::move(dependencies));
  TRIBUTARY_RETURN_IF_ERROR(coordinator->Recover());
  return coordinator;
}

CoordinatorImpl::CoordinatorImpl(const v1::CoordinatorConfig& config, Dependencies dependencies)
    : config_(config),
      deps_(WithMetrics(std::move(dependencies))),
      store_(deps_.snapshots),
      made_state_(deps_.post_after),
      idle_(DurationOf(config.lease())) {}

absl::Status CoordinatorImpl::Recover() {
  if (Prunes(config_.log()) && !deps_.journal->CanPrune()) {
    LogWarning("coordinator",
               "log.keep has no effect, all commits stay: the journal is in the format of an earlier release; stop this "
               "coordinator, then `tributary journal upgrade ",
               config_.data_dir(), "`");
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<JournaledRun> runs, deps_.journal->Runs());
  for (const JournaledRun& run : runs) {
    runs_.push_back(Run{run, std::nullopt});
  }
  for (const Run& run : runs_) {
    const auto shares = [&run](const auto& other) { return ShareSites(run.journaled.spec, other.second->journaled().spec); };
    if (!IsOver(run.journaled.state) && run.journaled.state != v1::SUBMITTED && absl::c_none_of(active_, shares)) {
      TRIBUTARY_RETURN_IF_ERROR(Activate(run, ActiveRun::Start::kRecovered));
    }
  }
  // Only now that all is known to be well: what a crash left behind between a file and its journal entry. Activation may have committed a
  // round whose updates were all in, with a snapshot of its own, so the journal is asked after it.
  std::set<std::string> named_files;
  for (const JournaledRun& run : runs) {
    TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<JournaledSnapshot> snapshots, deps_.journal->Snapshots(run.run_id));
    for (const JournaledSnapshot& snapshot : snapshots) {
      named_files.insert(snapshot.file);
      named_files.insert(snapshot.aggregator_file);
    }
    TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<std::string> payloads, deps_.journal->PayloadFiles(run.run_id));
    named_files.insert(payloads.begin(), payloads.end());
  }
  TRIBUTARY_RETURN_IF_ERROR(store_.RemoveAllBut(named_files));
  ActivateWaiting();
  if (active_.empty() && !runs_.empty()) {
    ShowStanding(StatusOf(runs_.back()), *deps_.metrics);
  }
  AfterChange();
  return absl::OkStatus();
}

bool CoordinatorImpl::Survives(const absl::Status& status) {
  if (status.ok()) {
    return true;
  }
  if (!failed_) {
    failed_ = true;
    LogError("coordinator", "stopping, because nothing may be acknowledged that is not durable: ", status.message());
    deps_.fatal(status);
  }
  return false;
}

void CoordinatorImpl::AfterChange() {
  for (auto it = active_.begin(); it != active_.end() && !failed_;) {
    if (it->second->over()) {
      Retire(it->first);
      ActivateWaiting();
      it = active_.begin();
    } else {
      ++it;
    }
  }
  const auto at_rest = [](const auto& run) { return run.second->drained(); };
  if (draining_ && !failed_ && std::all_of(active_.begin(), active_.end(), at_rest)) {
    FinishDrain();
  }
  TellHeads([](HeadPublisher& heads, auto send) { return heads.Publish(HeadPublisher::When::kIfDue, send); });
  uint64_t version = idle_.version();
  for (const auto& [run_id, members] : members_) {
    version += members.version();
  }
  if (std::exchange(counted_membership_, version) != version) {
    RefreshSessionMetrics();
  }
  if (!failed_ && !drained_) {
    ScheduleWake();
  }
}

void CoordinatorImpl::SessionOpened(const std::string& site, SessionSink* session, const SessionOrigin& origin) {
  if (failed_ || drained_) {
    session->Close(drained_ ? absl::UnavailableError("the coordinator is shutting down") : StorageHasFailed());
    return;
  }
  if (const auto it = sessions_.find(site); it != sessions_.end()) {
    if (!it->second.holder.Is(origin.worker_secret)) {
      NoteConflict(site, it->second.holder, origin);
      session->Close(SessionHolder::Refusal(site, DurationOf(config_.lease())));
      return;
    }
    LogInfo("coordinator", "its worker is back from ", origin.address, " before the end of its session from ", it->second.holder.address(),
            " was noticed", LogField("site", site));
    SessionSink* const older = it->second.sink;
    sessions_.erase(it);
    older->Close(absl::AbortedError("this worker has opened a newer session; if it has not, its state_dir is in use elsewhere too"));
  }
  sessions_.insert({site, Session{session, SessionHolder(origin)}});
  MembershipOf(site).Connected(site, At().now);
  LogInfo("coordinator", "session opened", LogField("site", site));
  TellMembersChanged();
}

void CoordinatorImpl::NoteConflict(const std::string& site, const SessionHolder& holder, const SessionOrigin& newcomer) {
  deps_.metrics->CountSessionConflict(site);
  // A worker that tries again comes from another port each time.
  if (const auto left_out = conflict_lines_[site].Tell(newcomer.host(), At().now); left_out.has_value()) {
    const std::string contested = holder.Contested(newcomer);
    LogWarning("coordinator", contested, *left_out, LogField("site", site));
    if (ActiveRun* const run = RunOf(site); run != nullptr) {
      run->NoteEvent(site, "contested", 0, contested);
      Survives(deps_.journal->Flush());
    }
  }
}

void CoordinatorImpl::SessionClosed(const std::string& site, SessionSink* session) {
  const auto it = sessions_.find(site);
  if (it == sessions_.end() || it->second.sink != session) {
    return;
  }
  sessions_.erase(it);
  MembershipOf(site).Dropped(site);
  LogInfo("coordinator", "session closed", LogField("site", site));
  TellMembersChanged();
}

void CoordinatorImpl::CloseSession(const std::string& site, const absl::Status& status) {
  const auto it = sessions_.find(site);
  if (it == sessions_.end()) {
    return;
  }
  SessionSink* const sink = it->second.sink;
  sessions_.erase(it);
  MembershipOf(site).Dropped(site);
  sink->Close(status);
}

void CoordinatorImpl::TellMembersChanged() {
  if (!failed_) {
    for (const auto& [run_id, run] : active_) {
      run->OnMembersChanged();
    }
  }
  AfterChange();
}

void CoordinatorImpl::CountBytes(const std::string& site, ByteDirection direction, ByteKind kind, uint64_t bytes) {
  deps_.metrics->CountBytes(site, direction, kind, bytes);
  if (ActiveRun* const run = RunOf(site); run != nullptr) {
    run->CountBytes(site, direction, bytes);
  }
  // Frames of a long upload are signs of life as good as a heartbeat.
  if (direction == ByteDirection::kUp && sessions_.contains(site)) {
    MembershipOf(site).Heard(site, At().now);
  }
}

void CoordinatorImpl::MessageReceived(const std::string& site, SessionSink* sink, v1::WorkerMessage message, uint64_t encoded_bytes,
                                      UpdateProof proof) {
  CountBytes(site, ByteDirection::kUp, message.has_update() ? ByteKind::kUpdate : ByteKind::kControl, encoded_bytes);
  const auto it = sessions_.find(site);
  if (failed_ || it == sessions_.end() || it->second.sink != sink) {
    return;
  }
  Session& session = it->second;
  deps_.metrics->SetSiteLastSeen(site, last_heard_[site] = At().wall);
  if (!session.software_version.has_value() && !message.has_hello()) {
    CloseSession(site, absl::FailedPreconditionError("the first message of a session is Hello"));
    TellMembersChanged();
    return;
  }
  // A message about a run that is not in progress, or not the site's, does not matter; only an update must be answered.
  const auto tell = [this, &site](const std::string& run_id, auto on_message) {
    if (ActiveRun* const run = FindActiveFor(site, run_id); run != nullptr) {
      on_message(*run);
    }
  };
  switch (message.body_case()) {
    case v1::WorkerMessage::kHello:
      OnHello(site, session, message.hello());
      break;
    case v1::WorkerMessage::kHeartbeat: {
      v1::CoordinatorMessage ack;
      ack.mutable_heartbeat_ack();
      SendMessage(*this, site, std::move(ack));
      return;
    }
    case v1::WorkerMessage::kRunAnswer:
      tell(message.run_answer().run_id(), [&](ActiveRun& run) { run.OnRunAnswer(site, message.run_answer()); });
      break;
    case v1::WorkerMessage::kReady:
      tell(message.ready().run_id(), [&](ActiveRun& run) { run.OnReady(site, message.ready()); });
      break;
    case v1::WorkerMessage::kUpdate:
      OnUpdateMessage(site, std::move(*message.mutable_update()), std::move(proof));
      break;
    case v1::WorkerMessage::kUpdateSkipped:
      tell(message.update_skipped().run_id(), [&](ActiveRun& run) { run.OnUpdateSkipped(site, message.update_skipped()); });
      break;
    case v1::WorkerMessage::kStateReport:
      tell(message.state_report().run_id(), [&](ActiveRun& run) { run.OnStateReport(site, message.state_report()); });
      break;
    case v1::WorkerMessage::kLeave:
      OnLeave(site, message.leave());
      break;
    case v1::WorkerMessage::BODY_NOT_SET:  // a message that a newer worker knows
      return;
  }
  AfterChange();
}

void CoordinatorImpl::OnHello(const std::string& site, Session& session, const v1::Hello& hello) {
  const std::string release = Excerpt(hello.software_version());
  const absl::StatusOr<uint32_t> version =
      NegotiateProtocol({absl::StrCat("this coordinator (", TRIBUTARY_VERSION, ")")},
                        {absl::StrCat("the worker (", release, ")"), hello.protocol_version(), hello.newest_protocol_version()});
  if (!version.ok()) {
    LogWarning("coordinator", version.status().message(), LogField("site", site));
    CloseSession(site, version.status());
    TellMembersChanged();
    return;
  }
  if (session.software_version.has_value()) {
    return;
  }
  session.software_version = release;
  session.capabilities = CapabilitiesOf(hello.capabilities());
  SendMessage(*this, site, WelcomeMessage(config_, *version, UnixMillis()));
  TellHeads([&](HeadPublisher& heads, auto send) { return heads.Greet(site, hello, send); });
  if (hello.has_held()) {
    Run* const held = FindRun(hello.held().run_id());
    if (held != nullptr && IsOver(held->journaled.state)) {
      SendMessage(*this, site, RunEndMessage(StatusOf(*held)));
    }
  }
  ActiveRun::Greeting greeting;
  greeting.software_version = *session.software_version;
  greeting.capabilities = session.capabilities;
  if (hello.has_held()) {
    greeting.held = hello.held();
  }
  if (ActiveRun* const run = RunOf(site); run != nullptr) {
    run->Offer(site, greeting);
  }
}

void CoordinatorImpl::OnUpdateMessage(const std::string& site, v1::Update update, UpdateProof proof) {
  if (update.payload().empty()) {
    return;  // it comes, or came, through TransferService.Upload, whose header says all the rest
  }
  ActiveRun* const run = FindActiveFor(site, update.run_id());
  if (run == nullptr) {
    RejectForeign(*this, *deps_.metrics, site, update.run_id(), update.round()).IgnoreError();  // the receipt says it
    return;
  }
  run->OnInlineUpdate(site, UpdateOf(std::move(update), std::move(proof)));
}

void CoordinatorImpl::CallLater(absl::Duration delay, const std::string& run_id, void (*call)(ActiveRun&)) {
  deps_.post_after(delay, [this, run_id, call, alive = std::weak_ptr<bool>(alive_)] {
    ActiveRun* const run = alive.expired() ? nullptr : FindActive(run_id);
    if (run != nullptr && !failed_) {
      call(*run);
      AfterChange();
    }
  });
}

void CoordinatorImpl::TakeHeldUpdatesSoon(const std::string& run_id) {
  CallLater(absl::ZeroDuration(), run_id, [](ActiveRun& run) { run.TakeHeldUpdates(); });
}

void CoordinatorImpl::KeepSnapshotSoon(const std::string& run_id) {
  CallLater(kSnapshotDelay, run_id, [](ActiveRun& run) { run.KeepDueSnapshot(); });
}

void CoordinatorImpl::OnLeave(const std::string& site, const v1::Leave& leave) {
  const std::string reason = Excerpt(leave.reason());
  LogInfo("coordinator", "leaves: ", reason, LogField("site", site));
  MembershipOf(site).Left(site, reason);
  if (ActiveRun* const run = RunOf(site); run != nullptr) {
    run->NoteEvent(site, "left", 0, reason);
    run->OnMembersChanged();
  }
}

absl::StatusOr<std::unique_ptr<UploadPlace>> CoordinatorImpl::CheckUpload(const std::string& site, const v1::UploadHeader& header,
                                                                          const UpdateProof& proof) {
  if (failed_) {
    return StorageHasFailed();
  }
  ActiveRun* const run = FindActiveFor(site, header.id().run_id());
  if (run == nullptr) {
    const absl::Status rejected = RejectForeign(*this, *deps_.metrics, site, header.id().run_id(), header.id().round());
    AfterChange();
    return rejected;
  }
  const absl::StatusOr<ActiveRun::Judgement> judged = run->Judge(site, UpdateOf(header, {.proof = proof}));
  AfterChange();
  TRIBUTARY_RETURN_IF_ERROR(judged.status());
  // A second copy of an update that is held is not worth a file.
  return *judged == ActiveRun::Judgement::kNew ? run->PlaceFor(site, header.id().round()) : nullptr;
}

absl::Status CoordinatorImpl::UploadCompleted(const std::string& site, const v1::UploadHeader& header, UploadedPayload payload) {
  if (failed_) {
    return StorageHasFailed();
  }
  ActiveRun* const run = FindActiveFor(site, header.id().run_id());
  const absl::Status accepted = run == nullptr ? RejectForeign(*this, *deps_.metrics, site, header.id().run_id(), header.id().round())
                                               : run->OnUpdate(site, UpdateOf(header, std::move(payload)));
  if (run == nullptr && !payload.file.empty()) {
    Survives(store_.Remove(payload.file));
  }
  AfterChange();
  return accepted;
}

void CoordinatorImpl::Send(const std::string& site, std::shared_ptr<const v1::CoordinatorMessage> message) {
  if (const auto it = sessions_.find(site); it != sessions_.end()) {
    it->second.sink->Send(std::move(message));
  }
}

void CoordinatorImpl::Broadcast(const std::string& run_id, std::shared_ptr<const v1::CoordinatorMessage> message) {
  // A run ends, and its sites leave with the proof of it.
  TellHeads([](HeadPublisher& heads, auto send) { return heads.Publish(HeadPublisher::When::kNow, send); });
  for (const auto& [site, session] : sessions_) {
    if (session.software_version.has_value() && FindActiveFor(site, run_id) != nullptr) {
      session.sink->Send(message);
    }
  }
}

void CoordinatorImpl::RefreshSessionMetrics() {
  std::map<std::string, SiteState> states;
  for (const auto& [name, session] : sessions_) {
    states[name] = SiteStateOf(MembershipOf(name).sites().at(name).presence);
  }
  deps_.metrics->SetSiteStates(states);
  for (const auto& [run_id, run] : active_) {
    std::vector<std::string> sites = deps_.sites->Names();
    std::erase_if(sites, [&run = run](const std::string& site) { return !run->Takes(site); });
    deps_.metrics->SetRunSites(run->journaled().spec.name(), sites);
  }
}

void CoordinatorImpl::ScheduleWake() {
  absl::Time next = idle_.next_expiry();
  for (const auto& [run_id, run] : active_) {
    next = std::min({next, run->wake_at(), members_.at(run_id).next_expiry()});
  }
  if (next >= wake_scheduled_) {
    return;  // the wake that is scheduled comes first and schedules the next
  }
  wake_scheduled_ = next;
  const uint64_t number = ++wake_number_;
  // A millisecond more: a timer that fires early would only have to be set again.
  const absl::Duration delay = std::max(absl::ZeroDuration(), next - At().now) + absl::Milliseconds(1);
  deps_.post_after(delay, [this, number, alive = std::weak_ptr<bool>(alive_)] {
    if (!alive.expired() && number == wake_number_) {
      Wake();
    }
  });
}

void CoordinatorImpl::Wake() {
  wake_scheduled_ = absl::InfiniteFuture();
  if (failed_ || drained_) {
    return;
  }
  std::vector<std::string> expired = idle_.Expire(At().now);
  for (auto& [run_id, members] : members_) {
    absl::c_move(members.Expire(At().now), std::back_inserter(expired));
  }
  for (const std::string& site : expired) {
    const std::string silence = absl::StrCat("nothing heard for ", absl::FormatDuration(DurationOf(config_.lease())));
    LogWarning("coordinator", silence, ": the site has left", LogField("site", site));
    if (ActiveRun* const run = RunOf(site); run != nullptr) {
      run->NoteEvent(site, "left", 0, silence);
    }
    CloseSession(site, absl::UnavailableError(
                           absl::StrCat("nothing was heard from this site for ", absl::FormatDuration(DurationOf(config_.lease())))));
  }
  for (const auto& [run_id, run] : active_) {
    run->OnTime();
  }
  AfterChange();
}

void CoordinatorImpl::Drain(std::function<void()> done) {
  drain_done_ = std::move(done);
  draining_ = true;
  if (active_.empty() || failed_) {
    FinishDrain();
    return;
  }
  LogInfo("coordinator", "shutting down after the round in flight, at most ", absl::FormatDuration(DurationOf(config_.drain_timeout())));
  deps_.post_after(DurationOf(config_.drain_timeout()), [this, alive = std::weak_ptr<bool>(alive_)] {
    if (!alive.expired()) {
      FinishDrain();
    }
  });
  for (const auto& [run_id, run] : active_) {
    run->Drain();
  }
  AfterChange();
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
    MembershipOf(site).Dropped(site);
    session.sink->Send(message);
    session.sink->Close(absl::UnavailableError("the coordinator is shutting down"));
  }
  RefreshSessionMetrics();
  if (drain_done_) {
    std::exchange(drain_done_, nullptr)();
  }
}

}  // namespace tributary::coordinator
