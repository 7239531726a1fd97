// What the round engine decides, carried out: rounds started, closed and committed, runs ended, timers set.
#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/checksum.h"
#include "common/log.h"
#include "common/overloaded.h"
#include "coordinator/coordinator_impl.h"

namespace tributary::coordinator {
namespace {

double Ratio(double numerator, double denominator) {
  return denominator > 0 ? numerator / denominator : 0;
}

}  // namespace

void CoordinatorImpl::Dispatch(Event event) {
  if (failed_) {
    return;
  }
  events_.push_back(std::move(event));
  if (dispatching_) {
    return;
  }
  dispatching_ = true;
  while (!events_.empty() && active_ != nullptr && !failed_) {
    const Event next = std::move(events_.front());
    events_.pop_front();
    for (const Action& action : active_->engine.Step(next, membership_, At())) {
      CarryOut(action);
      if (failed_ || active_ == nullptr) {
        break;
      }
    }
    if (active_ != nullptr && !failed_) {
      TellChanges();
    }
  }
  events_.clear();
  dispatching_ = false;
  if (!failed_) {
    ScheduleWake();
  }
}

void CoordinatorImpl::CarryOut(const Action& action) {
  std::visit(Overloaded{
                 [this](const StartRound& start) { BeginRound(start); },
                 [this](const TellRound& tell) { TellRoundStart(tell.site, tell.update_held); },
                 [this](const BeginExchange& exchange) {
                   Dispatch(ExchangeFailed{exchange.round, "this coordinator knows no protocol for it"});
                 },
                 [this](const CloseRound& close) { CommitRound(close); },
                 [this](const EndRun& end) { FinishRun(end); },
                 [this](const Drained&) { FinishDrain(); },
             },
             action);
}

void CoordinatorImpl::BeginRound(const StartRound& start) {
  if (!Survives(active_->host->StartRound(start.round, start.members))) {
    return;
  }
  active_->last_accepted = absl::InfinitePast();
  Run* const run = FindRun(active_->id());
  if (run->journaled.state != v1::RUNNING && !Survives(SetRunState(*run, v1::RUNNING, absl::StrCat("since round ", start.round)))) {
    return;
  }
  for (const std::string& site : start.members) {
    TellRoundStart(site, active_->engine.HoldsUpdateOf(site));
  }
}

void CoordinatorImpl::TellRoundStart(const std::string& site, bool update_held) {
  const RunHost& host = *active_->host;
  const optim::RoundParameters& parameters = host.parameters();
  v1::CoordinatorMessage message;
  v1::RoundStart& start = *message.mutable_round_start();
  start.set_run_id(active_->id());
  start.set_round(parameters.round);
  start.set_learning_rate(parameters.learning_rate);
  start.set_local_steps(parameters.local_steps);
  const int64_t left = absl::ToInt64Milliseconds(active_->engine.deadline() - At().now);
  start.set_deadline_ms(static_cast<uint32_t>(std::clamp<int64_t>(left, 0, UINT32_MAX)));
  start.set_base_state_hash(active_->engine.base_state_hash());
  start.set_base_round(active_->engine.base_round());
  if (host.model().spec.pipeline() != 0 && parameters.round < host.model().spec.rounds()) {
    const optim::RoundParameters next = optim::ParametersForRound(host.model().options, parameters.round + 1);
    start.set_next_learning_rate(next.learning_rate);
    start.set_next_local_steps(next.local_steps);
  }
  start.set_evaluate_base(active_->engine.EvaluatesBase(parameters.round));
  start.set_update_held(update_held);
  Send(site, std::move(message));
}

bool CoordinatorImpl::RecordValidationLoss(uint64_t round, double loss) {
  if (!Survives(deps_.journal->SetValidationLoss(active_->id(), round, loss))) {
    return false;
  }
  active_->accounts.SetValidationLoss(round, loss);
  if (deps_.metrics != nullptr) {
    deps_.metrics->SetLoss(LossSplit::kValidation, loss);
  }
  return true;
}

void CoordinatorImpl::CommitRound(const CloseRound& close) {
  RunHost& host = *active_->host;
  RunAccounts& accounts = active_->accounts;
  const std::map<std::string, v1::UpdateReport> reports = host.reports();
  // Before the commit: after a crash in between the round is committed again and the same loss is recorded again.
  if (const std::optional<double> loss = MeanBaseLoss(reports); loss.has_value() && !RecordValidationLoss(close.round - 1, *loss)) {
    return;
  }
  const absl::Time closing = At().now;
  absl::StatusOr<PendingCommit> pending = host.MakeCommit();
  if (!Survives(pending.status())) {
    return;
  }
  const absl::Time made = At().now;
  if (!Survives(host.ApplyCommit(*pending))) {
    return;
  }
  const absl::Time applied = At().now;
  for (const std::string& site : close.included) {
    v1::SiteStatus& totals = accounts.site(site);
    totals.set_updates_included(totals.updates_included() + 1);
  }
  for (const std::string& site : close.stragglers) {
    v1::SiteStatus& totals = accounts.site(site);
    totals.set_rounds_missed(totals.rounds_missed() + 1);
  }
  const std::vector<std::string> recipients = membership_.In(Presence::kReady);
  v1::RoundRecord record = MakeRecord(close, *pending, closing, recipients.size());
  accounts.CloseInterval(record);
  if (!Survives(host.AppendCommit(*pending, record, accounts.SiteTotals(), active_->engine.arrivals()))) {
    return;
  }
  const absl::Time journaled = At().now;
  accounts.SetLastRecord(record);
  if (record.has_train_loss()) {
    accounts.SetTrainLoss(record.train_loss());
  }

  // Receipts go to whatever session the site has, ahead of the commit; the commit to those who hold the state that it applies to. Who is on
  // the way there gets it with its answer to Ready.
  for (const std::string& site : close.included) {
    if (Consented(site)) {
      SendReceipt(site, active_->id(), close.round, v1::Receipt::INCLUDED, "");
    }
  }
  const auto message = CommitMessage(close.round, pending->record, host.state_hash());
  for (const std::string& site : recipients) {
    Send(site, message);
  }
  const absl::Time broadcast = At().now;
  if (deps_.metrics != nullptr) {
    deps_.metrics->ObservePhase(RoundPhase::kAggregate, made - closing);
    deps_.metrics->ObservePhase(RoundPhase::kApply, applied - made);
    deps_.metrics->ObservePhase(RoundPhase::kJournal, journaled - applied);
    deps_.metrics->ObservePhase(RoundPhase::kBroadcast, broadcast - journaled);
  }
  CountCommit(close, record);

  // Between two rounds, so that the aggregator's state is that of this commit. The last state is kept as well: it is what gets exported.
  if (host.SnapshotDue() || close.round == host.model().spec.rounds()) {
    std::set<uint64_t> wanted;
    for (const auto& [site, sync] : active_->unfinished_syncs) {
      if (sync.plan.needs_snapshot() && host.StillServes(sync.plan)) {
        wanted.insert(sync.plan.snapshot_round());
      }
    }
    if (!Survives(host.SaveSnapshot(wanted))) {
      return;
    }
    if (deps_.metrics != nullptr) {
      deps_.metrics->SetSnapshotTime(At().wall);
    }
  }
  Dispatch(RoundCommitted{host.state_hash()});
}

v1::RoundRecord CoordinatorImpl::MakeRecord(const CloseRound& close, const PendingCommit& pending, absl::Time closing,
                                            size_t recipients) const {
  const RunHost& host = *active_->host;
  const std::map<std::string, v1::UpdateReport> reports = host.reports();
  const absl::Time start = active_->engine.round_start();
  const size_t members = host.position().open->members.size();
  v1::RoundRecord record;
  record.set_round(close.round);
  record.set_members(static_cast<uint32_t>(members));
  record.set_included(static_cast<uint32_t>(close.included.size()));
  record.set_stragglers(static_cast<uint32_t>(close.stragglers.size()));
  if (const std::optional<double> loss = MeanTrainLoss(reports); loss.has_value()) {
    record.set_train_loss(*loss);
  }
  double compute = 0;
  double encode = 0;
  for (const auto& [site, report] : reports) {
    compute += std::isfinite(report.compute_seconds()) ? report.compute_seconds() : 0;
    encode += std::isfinite(report.encode_seconds()) ? report.encode_seconds() : 0;
  }
  const absl::Time now = At().now;
  record.set_compute_seconds(Ratio(compute, static_cast<double>(reports.size())));
  record.set_encode_seconds(Ratio(encode, static_cast<double>(reports.size())));
  record.set_duration(absl::ToDoubleSeconds(now - start));
  record.set_wait_seconds(absl::ToDoubleSeconds(std::max(active_->last_accepted, start) - start));
  // Without the journal's own write, which this record is part of.
  record.set_commit_seconds(absl::ToDoubleSeconds(now - closing));
  record.set_learning_rate(host.parameters().learning_rate);
  record.set_local_steps(host.parameters().local_steps);
  record.set_dense_bytes_per_direction(uint64_t{4} * static_cast<uint64_t>(host.model().layout.size()) * host.parameters().local_steps *
                                       members);
  record.set_payload_bytes_down(pending.record.size() * recipients);
  return record;
}

std::shared_ptr<const v1::CoordinatorMessage> CoordinatorImpl::CommitMessage(uint64_t round, const std::string& record,
                                                                             const std::string& state_hash) const {
  auto message = std::make_shared<v1::CoordinatorMessage>();
  v1::Commit& commit = *message->mutable_commit();
  commit.set_run_id(active_->id());
  commit.set_round(round);
  if (record.size() <= config_.max_inline()) {
    commit.set_record(record);
  }
  commit.set_state_hash(state_hash);
  commit.set_report(round == active_->host->model().spec.rounds());
  return message;
}

void CoordinatorImpl::CountCommit(const CloseRound& close, const v1::RoundRecord& record) {
  LogInfo("coordinator", "round ", close.round, " committed: ", record.included(), " of ", record.members(), " updates",
          record.has_train_loss() ? absl::StrCat(", training loss ", record.train_loss()) : "", ", up ", record.bytes_up(), " B, down ",
          record.bytes_down(), " B run=", active_->id());
  CoordinatorMetrics* const metrics = deps_.metrics;
  if (metrics == nullptr) {
    return;
  }
  for (const std::string& site : close.included) {
    metrics->CountUpdate(site, UpdateResult::kIncluded);
  }
  metrics->SetRound(close.round);
  metrics->RoundEnded(record.included() == 0                  ? RoundOutcome::kEmpty
                      : record.included() == record.members() ? RoundOutcome::kCommitted
                                                              : RoundOutcome::kPartial,
                      absl::Seconds(record.duration()));
  metrics->ObservePhase(RoundPhase::kWait, absl::Seconds(record.wait_seconds()));
  metrics->ObservePhase(RoundPhase::kCompute, absl::Seconds(record.compute_seconds()));
  metrics->ObservePhase(RoundPhase::kEncode, absl::Seconds(record.encode_seconds()));
  const double steps = static_cast<double>(record.members()) * record.local_steps();
  metrics->ObserveBytesPerStep(ByteDirection::kUp, Ratio(static_cast<double>(record.bytes_up()), steps));
  metrics->ObserveBytesPerStep(ByteDirection::kDown, Ratio(static_cast<double>(record.bytes_down()), steps));
  metrics->CountDenseEquivalent(record.dense_bytes_per_direction());
  metrics->SetCompressionRatio(
      Ratio(2.0 * static_cast<double>(record.dense_bytes_per_direction()), static_cast<double>(record.bytes_up() + record.bytes_down())));
  if (record.has_train_loss()) {
    metrics->SetLoss(LossSplit::kTrain, record.train_loss());
  }
}

void CoordinatorImpl::FinishRun(const EndRun& end) {
  RunHost& host = *active_->host;
  RunAccounts& accounts = active_->accounts;
  if (deps_.metrics != nullptr && host.position().open.has_value()) {
    deps_.metrics->RoundEnded(RoundOutcome::kFailed, At().now - active_->engine.round_start());
  }
  if (!host.position().open.has_value() && !Survives(host.SaveSnapshot({}))) {
    return;
  }
  accounts.AddTailToLastRecord();
  if (accounts.last_record().has_value() &&
      !Survives(deps_.journal->ReplaceAccounts(host.run_id(), *accounts.last_record(), accounts.SiteTotals()))) {
    return;
  }
  Run* const run = FindRun(host.run_id());
  if (!Survives(SetRunState(*run, end.state, end.reason))) {
    return;
  }
  Log(end.state == v1::FAILED ? LogLevel::kError : LogLevel::kInfo, "coordinator",
      absl::StrCat("run ", host.run_id(), " ", absl::AsciiStrToLower(v1::RunState_Name(end.state)), ": ", end.reason));
  run->ended = StatusOfActive();
  const auto message = std::make_shared<const v1::CoordinatorMessage>(RunEndMessage(*run->ended));
  for (const auto& [site, session] : sessions_) {
    if (session.greeted) {
      session.sink->Send(message);
    }
  }
  const std::string run_id = host.run_id();
  active_.reset();
  events_.clear();
  membership_.StartOver();
  RefreshSessionMetrics();
  Notify(run_id);
  ActivateNext();
}

// Logs what changed of the run's standing, once, and tells the observer. How a round fills up is no news for the log.
void CoordinatorImpl::TellChanges() {
  const v1::RunState state = active_->engine.state();
  const std::string& reason = active_->engine.reason();
  if (state == active_->told_state && reason == active_->told_reason) {
    return;
  }
  if (state != active_->told_state || state == v1::WAITING || active_->engine.reporting()) {
    LogInfo("coordinator", absl::AsciiStrToLower(v1::RunState_Name(state)), ": ", reason, " run=", active_->id());
  } else if (active_->engine.short_of_quorum()) {
    LogWarning("coordinator", reason, " run=", active_->id());
  }
  active_->told_state = state;
  active_->told_reason = reason;
  Notify(active_->id());
}

void CoordinatorImpl::ScheduleWake() {
  absl::Time next = membership_.next_expiry();
  if (active_ != nullptr) {
    next = std::min(next, active_->engine.wake_at());
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
  for (const std::string& site : membership_.Expire(At().now)) {
    const absl::Duration lease = DurationOf(config_.lease());
    LogWarning("coordinator", "nothing heard for ", absl::FormatDuration(lease), ": the site has left site=", site);
    NoteEvent(site, "left", 0, absl::StrCat("nothing heard for ", absl::FormatDuration(lease)));
    CloseSession(site, absl::UnavailableError(absl::StrCat("nothing was heard from this site for ", absl::FormatDuration(lease))));
  }
  Dispatch(TimePassed{});
  ScheduleWake();
}

}  // namespace tributary::coordinator
