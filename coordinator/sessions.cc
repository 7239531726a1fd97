// What sites say, and what they are told (the conversation stands in proto/tributary/v1/session.proto).
#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/checksum.h"
#include "common/log.h"
#include "common/status_macros.h"
#include "coordinator/coordinator_impl.h"

namespace tributary::coordinator {
namespace {

// A site that is at most so many commits behind when it is ready is sent them on the session; further behind, it gets a plan to download.
// Without this a site could run after fast rounds for ever.
constexpr uint64_t kMaxCatchUp = 16;
// After so many wrong states in a row a replica is beyond repair by resynchronising.
constexpr int kMaxMismatches = 3;
constexpr absl::Duration kEvidenceInterval = absl::Seconds(1);

}  // namespace

void CoordinatorImpl::SessionOpened(const std::string& site, SessionSink* session) {
  if (failed_ || drained_) {
    session->Close(drained_ ? absl::UnavailableError("the coordinator is shutting down") : StorageHasFailed());
    return;
  }
  if (const auto it = sessions_.find(site); it != sessions_.end()) {
    LogWarning("coordinator", "a newer session of the same site replaces the open one site=", site);
    SessionSink* const older = it->second.sink;
    sessions_.erase(it);
    older->Close(absl::AbortedError("replaced by a newer session of the same site"));
  }
  sessions_[site].sink = session;
  membership_.Connected(site, At().now);
  LogInfo("coordinator", "session opened site=", site);
  RefreshSessionMetrics();
  Dispatch(MembersChanged{});
}

void CoordinatorImpl::SessionClosed(const std::string& site, SessionSink* session) {
  const auto it = sessions_.find(site);
  if (it == sessions_.end() || it->second.sink != session) {
    return;
  }
  sessions_.erase(it);
  membership_.Dropped(site);
  LogInfo("coordinator", "session closed site=", site);
  RefreshSessionMetrics();
  if (!failed_) {
    Dispatch(MembersChanged{});
  }
}

void CoordinatorImpl::CloseSession(const std::string& site, const absl::Status& status) {
  const auto it = sessions_.find(site);
  if (it == sessions_.end()) {
    return;
  }
  SessionSink* const sink = it->second.sink;
  sessions_.erase(it);
  membership_.Dropped(site);
  RefreshSessionMetrics();
  sink->Close(status);
}

void CoordinatorImpl::CountBytes(const std::string& site, ByteDirection direction, ByteKind kind, uint64_t bytes) {
  if (deps_.metrics != nullptr) {
    deps_.metrics->CountBytes(site, direction, kind, bytes);
  }
  if (active_ != nullptr) {
    active_->accounts.CountBytes(site, direction, bytes);
  }
  // Frames of a long upload are signs of life as good as a heartbeat.
  if (direction == ByteDirection::kUp && sessions_.contains(site)) {
    membership_.Heard(site, At().now);
  }
}

void CoordinatorImpl::MessageReceived(const std::string& site, SessionSink* sink, v1::WorkerMessage message, uint64_t encoded_bytes) {
  CountBytes(site, ByteDirection::kUp, message.has_update() ? ByteKind::kUpdate : ByteKind::kControl, encoded_bytes);
  const auto it = sessions_.find(site);
  if (failed_ || it == sessions_.end() || it->second.sink != sink) {
    return;
  }
  Session& session = it->second;
  if (deps_.metrics != nullptr) {
    deps_.metrics->SetSiteLastSeen(site, At().wall);
  }
  if (!session.greeted && !message.has_hello()) {
    CloseSession(site, absl::FailedPreconditionError("the first message of a session is Hello"));
    Dispatch(MembersChanged{});
    return;
  }
  switch (message.body_case()) {
    case v1::WorkerMessage::kHello:
      OnHello(site, session, message.hello());
      break;
    case v1::WorkerMessage::kHeartbeat: {
      v1::CoordinatorMessage ack;
      ack.mutable_heartbeat_ack();
      Send(site, std::move(ack));
      break;
    }
    case v1::WorkerMessage::kRunAnswer:
      OnRunAnswer(site, session, message.run_answer());
      break;
    case v1::WorkerMessage::kReady:
      OnReady(site, session, message.ready());
      break;
    case v1::WorkerMessage::kUpdate: {
      v1::Update& body = *message.mutable_update();
      if (body.payload().empty()) {
        break;  // it comes, or came, through TransferService.Upload, whose header says all the rest
      }
      IncomingUpdate update;
      update.run_id = std::move(*body.mutable_run_id());
      update.round = body.round();
      update.base_state_hash = std::move(*body.mutable_base_state_hash());
      update.payload = std::move(*body.mutable_payload());
      update.payload_bytes = update.payload.size();
      update.digest = DigestBytes(Sha256(update.payload));
      update.report = std::move(*body.mutable_report());
      OnUpdate(site, std::move(update)).IgnoreError();  // the receipt says it
      break;
    }
    case v1::WorkerMessage::kUpdateSkipped: {
      const v1::UpdateSkipped& skipped = message.update_skipped();
      if (active_ != nullptr && skipped.run_id() == active_->id()) {
        LogWarning("coordinator", "round ", skipped.round(), " skipped: ", skipped.reason(), " site=", site);
        if (deps_.metrics != nullptr) {
          deps_.metrics->CountUpdate(site, UpdateResult::kSkipped);
        }
        Dispatch(UpdateSkipped{site, skipped.round(), Excerpt(skipped.reason())});
      }
      break;
    }
    case v1::WorkerMessage::kStateReport:
      OnStateReport(site, session, message.state_report());
      break;
    case v1::WorkerMessage::kLeave:
      OnLeave(site, message.leave());
      break;
    case v1::WorkerMessage::BODY_NOT_SET:  // a message that a newer worker knows
      break;
  }
}

void CoordinatorImpl::OnHello(const std::string& site, Session& session, const v1::Hello& hello) {
  if (hello.protocol_version() != kProtocolVersion) {
    CloseSession(site, absl::FailedPreconditionError(absl::StrCat(
                           "this coordinator (", TRIBUTARY_VERSION, ") speaks protocol version ", kProtocolVersion, ", the worker (",
                           hello.software_version(), ") version ", hello.protocol_version(), "; install the same release on both sides")));
    Dispatch(MembersChanged{});
    return;
  }
  if (session.greeted) {
    return;
  }
  session.greeted = true;
  session.software_version = Excerpt(hello.software_version());
  if (hello.has_held()) {
    session.held = hello.held();
  }
  v1::CoordinatorMessage message;
  v1::Welcome& welcome = *message.mutable_welcome();
  welcome.set_software_version(TRIBUTARY_VERSION);
  welcome.set_lease_ms(static_cast<uint32_t>(absl::ToInt64Milliseconds(DurationOf(config_.lease()))));
  welcome.set_max_inline_bytes(config_.max_inline());
  welcome.set_unix_ms(UnixMillis());
  Send(site, std::move(message));
  if (session.held.has_value()) {
    Run* const held = FindRun(session.held->run_id());
    if (held != nullptr && IsOver(held->journaled.state)) {
      Send(site, RunEndMessage(StatusOf(*held)));
    }
  }
  Offer(site);
}

void CoordinatorImpl::Offer(const std::string& site) {
  const auto it = sessions_.find(site);
  if (active_ == nullptr || it == sessions_.end() || !it->second.greeted) {
    return;
  }
  v1::CoordinatorMessage message;
  v1::RunOffer& offer = *message.mutable_run_offer();
  const RunModel& model = active_->host->model();
  offer.set_run_id(active_->id());
  *offer.mutable_spec() = model.spec;
  offer.set_layout_hash(DigestBytes(model.layout.hash()));
  membership_.Set(site, Presence::kOffered);
  Send(site, std::move(message));
  Dispatch(MembersChanged{});
}

void CoordinatorImpl::OnRunAnswer(const std::string& site, Session& session, const v1::RunAnswer& answer) {
  if (active_ == nullptr || answer.run_id() != active_->id()) {
    return;
  }
  if (!answer.accepted()) {
    LogWarning("coordinator", "run ", active_->id(), " refused: ", answer.refusal(), " site=", site);
    membership_.Set(site, Presence::kRefused, Excerpt(answer.refusal()));
    NoteEvent(site, "refused", 0, Excerpt(answer.refusal()));
    RefreshSessionMetrics();
    Dispatch(MembersChanged{});
    return;
  }
  const std::optional<v1::HeldState> held = std::exchange(session.held, std::nullopt);
  const bool of_this_run = held.has_value() && held->run_id() == active_->id() && !held->state_hash().empty();
  if (of_this_run && !active_->host->Agrees(held->round(), held->state_hash())) {
    Quarantine(site, held->round(), held->state_hash());
    return;
  }
  SendPlan(site, session, held, "");
}

const v1::SyncPlan* CoordinatorImpl::UnfinishedPlan(const std::string& site, const std::string& held, uint64_t included) const {
  const auto it = active_->unfinished_syncs.find(site);
  if (it == active_->unfinished_syncs.end() || it->second.held != held) {
    return nullptr;
  }
  // The fate of the site's latest update must be told with the plan or after it.
  const v1::SyncPlan& plan = it->second.plan;
  const bool fetches = plan.needs_snapshot() || plan.first_commit() <= plan.target_round();
  return fetches && included <= plan.target_round() && active_->host->StillServes(plan) ? &plan : nullptr;
}

void CoordinatorImpl::SendPlan(const std::string& site, Session& session, const std::optional<v1::HeldState>& held,
                               const std::string& reason) {
  const absl::StatusOr<uint64_t> included = active_->host->LastIncluded(site);
  if (!Survives(included.status())) {
    return;
  }
  v1::CoordinatorMessage message;
  v1::SyncPlan& plan = *message.mutable_sync_plan();
  const bool holds = held.has_value() && held->run_id() == active_->id() && !held->state_hash().empty();
  const std::string held_key = holds ? absl::StrCat(held->round(), " ", held->state_hash()) : "";
  const v1::SyncPlan* const unfinished = reason.empty() ? UnfinishedPlan(site, held_key, *included) : nullptr;
  plan = unfinished != nullptr ? *unfinished : active_->host->PlanSync(held, reason);
  active_->unfinished_syncs[site] = {held_key, plan};
  if (*included > 0 && *included <= plan.target_round()) {
    plan.mutable_last_receipt()->set_run_id(active_->id());
    plan.mutable_last_receipt()->set_round(*included);
    plan.mutable_last_receipt()->set_result(v1::Receipt::INCLUDED);
  }
  session.planned = plan.target_round();
  if (reason.empty()) {
    membership_.Set(site, Presence::kSyncing);
  }
  RefreshSessionMetrics();
  Send(site, std::move(message));
  Dispatch(MembersChanged{});
}

void CoordinatorImpl::NoteEvent(const std::string& site, absl::string_view kind, uint64_t round, absl::string_view detail) {
  if (active_ != nullptr) {
    deps_.journal->NoteEvent(active_->id(), {UnixMillis(), site, std::string(kind), round, std::string(detail)});
  }
}

bool CoordinatorImpl::Consented(const std::string& site) const {
  const auto it = membership_.sites().find(site);
  return it != membership_.sites().end() && (it->second.presence == Presence::kSyncing || it->second.presence == Presence::kQuarantined ||
                                             it->second.presence == Presence::kReady);
}

void CoordinatorImpl::OnReady(const std::string& site, Session& session, const v1::Ready& ready) {
  if (active_ == nullptr || ready.run_id() != active_->id() || !Consented(site)) {
    return;
  }
  RunHost& host = *active_->host;
  std::optional<v1::HeldState> held;
  if (!ready.state_hash().empty()) {
    if (ready.state_hash().size() != sizeof(optim::Digest)) {
      CloseSession(site, absl::InvalidArgumentError("Ready: state_hash is not a SHA-256"));
      Dispatch(MembersChanged{});
      return;
    }
    held.emplace();
    held->set_run_id(ready.run_id());
    held->set_round(ready.round());
    held->set_state_hash(ready.state_hash());
    v1::SiteStatus& totals = active_->accounts.site(site);
    totals.set_round(ready.round());
    totals.set_state_hash(ready.state_hash());
    if (!host.Agrees(ready.round(), ready.state_hash())) {
      Quarantine(site, ready.round(), ready.state_hash());
      return;
    }
    session.mismatches = 0;
  }
  const bool answers_plan = held.has_value() && session.planned == ready.round();
  session.planned.reset();
  if (answers_plan) {
    active_->unfinished_syncs.erase(site);
  }
  if (!answers_plan || host.round() - ready.round() > kMaxCatchUp) {
    SendPlan(site, session, held, "");
    return;
  }
  for (uint64_t round = ready.round() + 1; round <= host.round(); ++round) {
    const absl::StatusOr<JournaledCommit> commit = host.Commit(round);
    if (!Survives(commit.status())) {
      return;
    }
    Send(site, CommitMessage(round, commit->record, DigestBytes(commit->state_hash)));
  }
  const Presence before = membership_.sites().at(site).presence;
  if (before != Presence::kReady) {
    NoteEvent(site, before == Presence::kQuarantined ? "resynchronised" : "joined", host.round(), "");
  }
  membership_.Set(site, Presence::kReady);
  RefreshSessionMetrics();
  LogInfo("coordinator", "ready at round ", host.round(), " site=", site);
  // A site that was just sent the last commit reports on it; one that has it already is known to agree.
  if (active_->engine.reporting() && ready.round() < host.round()) {
    Dispatch(MembersChanged{});
  } else {
    Dispatch(SiteReady{site});
  }
}

void CoordinatorImpl::Quarantine(const std::string& site, uint64_t round, const std::string& state_hash) {
  const auto it = sessions_.find(site);
  if (it == sessions_.end()) {
    return;
  }
  // Ahead of the log: no replica went wrong, the log was taken back (`tributary journal truncate-to`, a backup, a disk that lost what it
  // had promised to keep). That is evidence too, but of the log.
  const bool ahead = round > active_->host->round();
  if (deps_.metrics != nullptr && !ahead) {
    deps_.metrics->CountHashMismatch();
  }
  const auto hex = [](const std::string& bytes) {
    optim::Digest digest{};
    std::copy_n(bytes.begin(), std::min(bytes.size(), digest.size()), digest.begin());
    return DigestHex(digest);
  };
  RunHost& host = *active_->host;
  const std::string reason = ahead ? absl::StrCat("it holds round ", round, ", the log ends at ", host.round())
                                   : absl::StrCat("its state[", round, "] differs from the log's");
  Log(ahead ? LogLevel::kWarning : LogLevel::kError, "coordinator",
      absl::StrCat(ahead ? "the log was taken back: " : "replica disagrees: ", reason, "; its hash ", hex(state_hash), " log's round ",
                   host.round(), " hash ", hex(host.state_hash()), " site=", site));
  Session& session = it->second;
  if (!ahead) {
    active_->last_mismatch[site] = round;
  }
  if (session.mismatches <= kMaxMismatches) {
    NoteEvent(site, "quarantined", round, reason);
    deps_.journal->NoteEvidence(
        active_->id(), {UnixMillis(), site, round, Excerpt(state_hash), ahead ? "" : host.StateHashAt(round), session.software_version});
  }
  // At once, but not as often as a site likes.
  if (const absl::Time now = At().now; now - evidence_written_ >= kEvidenceInterval) {
    evidence_written_ = now;
    if (!Survives(deps_.journal->Flush())) {
      return;
    }
  }
  if (++session.mismatches > kMaxMismatches) {
    membership_.Set(site, Presence::kQuarantined,
                    absl::StrCat(reason, " again after ", kMaxMismatches,
                                 " resynchronisations: check the site's memory and software version, then restart its worker"));
    RefreshSessionMetrics();
    Dispatch(MembersChanged{});
    return;
  }
  membership_.Set(site, Presence::kQuarantined, reason);
  v1::HeldState held;
  held.set_run_id(active_->id());
  held.set_round(round);
  held.set_state_hash(state_hash);
  SendPlan(site, session, held, reason);
}

void CoordinatorImpl::OnStateReport(const std::string& site, Session& session, const v1::StateReport& report) {
  if (active_ == nullptr || report.run_id() != active_->id() || !Consented(site)) {
    return;
  }
  if (report.state_hash().size() != sizeof(optim::Digest)) {
    CloseSession(site, absl::InvalidArgumentError("StateReport: state_hash is not a SHA-256"));
    Dispatch(MembersChanged{});
    return;
  }
  RunHost& host = *active_->host;
  v1::SiteStatus& totals = active_->accounts.site(site);
  totals.set_round(report.round());
  totals.set_state_hash(report.state_hash());
  if (!host.Agrees(report.round(), report.state_hash())) {
    Quarantine(site, report.round(), report.state_hash());
    return;
  }
  session.mismatches = 0;
  if (report.round() != host.round() || !active_->engine.reporting()) {
    return;
  }
  if (report.has_val_loss() && std::isfinite(report.val_loss())) {
    active_->final_losses[site] = report.val_loss();
    double sum = 0;
    for (const auto& [name, loss] : active_->final_losses) {
      sum += loss;
    }
    if (!RecordValidationLoss(host.round(), sum / static_cast<double>(active_->final_losses.size()))) {
      return;
    }
  }
  Dispatch(StateReported{site});
}

void CoordinatorImpl::OnLeave(const std::string& site, const v1::Leave& leave) {
  LogInfo("coordinator", "leaves: ", leave.reason(), " site=", site);
  NoteEvent(site, "left", 0, Excerpt(leave.reason()));
  membership_.Left(site, Excerpt(leave.reason()));
  RefreshSessionMetrics();
  Dispatch(MembersChanged{});
}

// ---- Sending ----

void CoordinatorImpl::Send(const std::string& site, std::shared_ptr<const v1::CoordinatorMessage> message) {
  if (const auto it = sessions_.find(site); it != sessions_.end()) {
    it->second.sink->Send(std::move(message));
  }
}

void CoordinatorImpl::Send(const std::string& site, v1::CoordinatorMessage message) {
  Send(site, std::make_shared<const v1::CoordinatorMessage>(std::move(message)));
}

void CoordinatorImpl::SendReceipt(const std::string& site, const std::string& run_id, uint64_t round, v1::Receipt::Result result,
                                  const std::string& reason) {
  v1::CoordinatorMessage message;
  v1::Receipt& receipt = *message.mutable_receipt();
  receipt.set_run_id(run_id);
  receipt.set_round(round);
  receipt.set_result(result);
  receipt.set_reason(reason);
  Send(site, std::move(message));
}

void CoordinatorImpl::RefreshSessionMetrics() {
  if (deps_.metrics == nullptr) {
    return;
  }
  std::map<SessionState, int> counts = {
      {SessionState::kConnected, 0}, {SessionState::kSyncing, 0}, {SessionState::kReady, 0}, {SessionState::kRefused, 0}};
  for (const std::string& name : config_.sites()) {
    deps_.metrics->SetSiteUp(name, sessions_.contains(name));
  }
  for (const auto& [name, site] : membership_.sites()) {
    if (!site.session) {
      continue;
    }
    switch (site.presence) {
      case Presence::kReady:
        ++counts[SessionState::kReady];
        break;
      case Presence::kSyncing:
      case Presence::kQuarantined:
        ++counts[SessionState::kSyncing];
        break;
      case Presence::kRefused:
      case Presence::kLeft:
        ++counts[SessionState::kRefused];
        break;
      case Presence::kAway:
      case Presence::kConnected:
      case Presence::kOffered:
        ++counts[SessionState::kConnected];
        break;
    }
  }
  for (const auto& [state, count] : counts) {
    deps_.metrics->SetSessions(state, count);
  }
}

}  // namespace tributary::coordinator
