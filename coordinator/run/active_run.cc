// The run's rounds: what the engine decides, carried out; what operators ask; what is told of it. The sites are in active_run_sites.cc.
#include "coordinator/run/active_run.h"

#include <algorithm>
#include <set>
#include <utility>
#include <variant>
#include <vector>

#include "absl/memory/memory.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/assert.h"
#include "common/excerpt.h"
#include "common/log.h"
#include "common/overloaded.h"
#include "common/status_macros.h"
#include "coordinator/run/best_round.h"
#include "coordinator/run/disk_need.h"
#include "coordinator/run/extended_run.h"
#include "coordinator/run/receipts.h"
#include "coordinator/run/round_report.h"
#include "coordinator/run/run_status.h"
#include "coordinator/run/strikes.h"

namespace tributary::coordinator {
ActiveRun::ActiveRun(const JournaledRun& run, const v1::CoordinatorConfig& config, std::unique_ptr<RunHost> host,
                     const RunPosition& position, const Dependencies& dependencies)
    : deps_(dependencies),
      config_(config),
      journaled_(run),
      host_(std::move(host)),
      engine_(RoundPolicyOf(run.spec), position, Instant{deps_.clock->Now(), deps_.clock->WallNow()}),
      enough_(position.enough),
      summary_(run.run_id, run.spec.rounds()) {}

absl::StatusOr<std::unique_ptr<ActiveRun>> ActiveRun::Open(const JournaledRun& run, const v1::CoordinatorConfig& config, Start start,
                                                           Dependencies dependencies) {
  Journal& journal = *dependencies.journal;
  TRIBUTARY_ASSIGN_OR_RETURN(std::unique_ptr<RunHost> host,
                             RunHost::Open(run, {config.snapshots(), config.log(), config.max_inline()}, dependencies.journal,
                                           dependencies.snapshots, dependencies.clock));
  RunPosition position = host->position();
  TRIBUTARY_ASSIGN_OR_RETURN(position.arrivals, journal.LatestArrivals(run.run_id));
  TRIBUTARY_ASSIGN_OR_RETURN(const JournaledEvaluations evaluations, journal.Evaluations(run.run_id));
  position.enough = EarlyEnd(run.spec, evaluations, position.committed);
  if (run.state == v1::PAUSED) {
    position.paused = run.reason;
  } else if (run.state == v1::DRAINING) {
    position.stop = run.reason;
  }
  auto active = absl::WrapUnique(new ActiveRun(run, config, std::move(host), position, dependencies));
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<CommitSummary> commits, journal.CommitSummaries(run.run_id));
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<v1::SiteStatus> totals, journal.SiteTotals(run.run_id));
  active->accounts_.Restore(commits, totals, evaluations);
  if (start == Start::kRecovered) {
    TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<std::string> likely, active->host_->LikelySites());
    for (const std::string& site : likely) {
      dependencies.membership->Expect(site, dependencies.clock->Now());
    }
    LogInfo("coordinator", "run ", run.run_id, " continues after round ", active->host_->round(), " with state ",
            absl::BytesToHexString(active->host_->state_hash()));
  } else {
    TRIBUTARY_RETURN_IF_ERROR(active->SetState(v1::WAITING, "waiting for workers"));
    LogInfo("coordinator", "run ", run.run_id, " starts");
  }
  ShowStanding(active->Status(), *dependencies.metrics);
  if (active->engine_.reporting()) {
    // Once more: the journal may have a site's last report without the mean that it counts in.
    active->accounts_.KeepEvaluationsOf(active->host_->round());
    if (!active->RecordEvaluation(active->host_->round(), active->accounts_.SiteEvaluations())) {
      return StorageHasFailed();
    }
  }
  active->ForecastDisk();
  return active;
}

void ActiveRun::ForecastDisk() {
  const RunModel& model = host_->model();
  const uint64_t members = MostMembers(model, deps_.sites);
  const uint64_t now = DiskBytes(model, config_, members, host_->round());
  const uint64_t at_end = DiskBytes(model, config_, members, journaled_.spec.rounds());
  deps_.metrics->SetDiskForecast(journaled_.spec.name(), at_end - std::min(at_end, now));
}

bool ActiveRun::Survives(const absl::Status& status) {
  if (status.ok()) {
    return true;
  }
  failed_ = true;
  deps_.environment->OnStorageFailed(status);
  return false;
}

absl::Status ActiveRun::SetState(v1::RunState state, const std::string& reason) {
  const int64_t finished = IsOver(state) ? UnixMillis() : 0;
  TRIBUTARY_RETURN_IF_ERROR(deps_.journal->SetRunState(id(), state, reason, finished));
  journaled_.state = state;
  journaled_.reason = reason;
  journaled_.finished_unix_ms = finished;
  return absl::OkStatus();
}

void ActiveRun::Dispatch(Event event) {
  // What was held came before.
  if (failed_ || over() || !TakeHeldUpdates()) {
    return;
  }
  events_.push_back(std::move(event));
  if (dispatching_) {
    return;
  }
  dispatching_ = true;
  while (!events_.empty() && !over() && !failed_) {
    const Event next = std::move(events_.front());
    events_.pop_front();
    for (const Action& action : engine_.Step(next, *deps_.membership, At())) {
      CarryOut(action);
      if (failed_ || over()) {
        break;
      }
    }
    if (!over() && !failed_) {
      TellChanges();
    }
  }
  events_.clear();
  dispatching_ = false;
}

void ActiveRun::CarryOut(const Action& action) {
  std::visit(Overloaded{
                 [this](const StartRound& start) { BeginRound(start); },
                 [this](const TellRound& tell) { TellRoundStart(tell.site, tell.update_held); },
                 // RoundPolicyOf asks for none. The first protocol that does must also take its round's updates back when it fails: out of
                 // the sum, and out of what the journal replays.
                 [](const BeginExchange& exchange) {
                   TRIBUTARY_ASSERT(false, "round ", exchange.round, ": no run of this program has an exchange");
                 },
                 [this](const CloseRound& close) { CommitRound(close); },
                 [this](const SiteBenched& benched) { OnBenched(benched); },
                 [this](const EndRun& end) { Finish(end); },
                 [this](const Drained&) { drained_ = true; },
             },
             action);
}

void ActiveRun::BeginRound(const StartRound& start) {
  if (!Survives(host_->StartRound(start.round, start.members))) {
    return;
  }
  last_accepted_ = absl::InfinitePast();
  if (journaled_.state != v1::RUNNING && !Survives(SetState(v1::RUNNING, absl::StrCat("since round ", start.round)))) {
    return;
  }
  for (const std::string& site : start.members) {
    TellRoundStart(site, engine_.HoldsUpdateOf(site));
  }
}

void ActiveRun::TellRoundStart(const std::string& site, bool update_held) {
  const optim::RoundParameters& parameters = host_->parameters();
  v1::CoordinatorMessage message;
  v1::RoundStart& start = *message.mutable_round_start();
  start.set_run_id(id());
  start.set_round(parameters.round);
  start.set_learning_rate(parameters.learning_rate);
  start.set_local_steps(parameters.local_steps);
  const int64_t left = absl::ToInt64Milliseconds(engine_.deadline() - At().now);
  start.set_deadline_ms(static_cast<uint32_t>(std::clamp<int64_t>(left, 0, UINT32_MAX)));
  start.set_base_state_hash(engine_.base_state_hash());
  start.set_base_round(engine_.base_round());
  if (journaled_.spec.pipeline() != 0 && parameters.round < journaled_.spec.rounds()) {
    const optim::RoundParameters next = host_->ParametersOf(parameters.round + 1);
    start.set_next_learning_rate(next.learning_rate);
    start.set_next_local_steps(next.local_steps);
  }
  start.set_evaluate_base(engine_.EvaluatesBase(parameters.round));
  start.set_update_held(update_held);
  SendMessage(*deps_.environment, site, std::move(message));
}

bool ActiveRun::RecordEvaluation(uint64_t round, const std::map<std::string, JournaledEvaluation>& by_site) {
  const std::optional<JournaledEvaluation> mean = MeanOf(by_site);
  if (!mean.has_value() || !Survives(deps_.journal->SetEvaluation(id(), round, *mean))) {
    return !failed_;
  }
  accounts_.SetEvaluation(round, *mean);
  if (const std::string why = WhyNotJudged(journaled_.spec, accounts_.evaluations()); !why.empty()) {
    LogWarning("coordinator", why, LogField("run", id()));
    NoteEvent("", "unjudged", round, why);
  }
  summary_.SetValidationLoss(mean->loss);
  ShowEvaluation(journaled_.spec.name(), *mean, *deps_.metrics);
  return true;
}

void ActiveRun::CommitRound(const CloseRound& close) {
  if (!KeepDueSnapshot()) {
    return;
  }
  // The sum holds all that was accepted.
  TRIBUTARY_ASSERT(close.included.size() == host_->accepted().size(), "round ", close.round, ": ", close.included.size(),
                   " updates to include, ", host_->accepted().size(), " in the sum");
  const std::map<std::string, v1::UpdateReport> reports = host_->reports();
  // Before the commit: after a crash in between the round is committed again and its evaluation recorded again.
  if (engine_.EvaluatesBase(close.round) &&
      !RecordEvaluation(close.round - 1, accounts_.SetSiteEvaluations(reports, journaled_.spec.evaluation()))) {
    return;
  }
  const absl::Time closing = At().now;
  absl::StatusOr<PendingCommit> pending = host_->MakeCommit();
  if (!Survives(pending.status())) {
    return;
  }
  const absl::Time made = At().now;
  if (!Survives(host_->ApplyCommit(*pending))) {
    return;
  }
  const absl::Time applied = At().now;
  accounts_.CountRound(close.included, close.stragglers);
  const std::vector<std::string> recipients = deps_.membership->In(Presence::kReady);
  v1::RoundRecord record = MakeRoundRecord(*host_, close, {engine_.round_start(), last_accepted_, closing, At().now},
                                           pending->record->size(), recipients.size());
  accounts_.CloseInterval(record);
  if (!Survives(host_->AppendCommit(*pending, record, accounts_.SiteTotals(), engine_.arrivals()))) {
    return;
  }
  const absl::Time journaled = At().now;
  accounts_.SetLastRecord(record);
  enough_ = EarlyEnd(journaled_.spec, accounts_.evaluations(), close.round);
  if (IsLast(close.round)) {
    accounts_.KeepEvaluationsOf(close.round);
  }

  // Receipts go to whatever session the site has, ahead of the commit; the commit to those who hold the state that it applies to. Who is on
  // the way there gets it with its answer to Ready.
  for (const std::string& site : close.included) {
    if (Consented(site)) {
      SendReceipt(*deps_.environment, site, id(), close.round, v1::Receipt::INCLUDED, "");
    }
  }
  absl::StatusOr<std::shared_ptr<const v1::CoordinatorMessage>> message = CommitMessage(close.round, *pending->record, host_->state_hash());
  if (!Survives(message.status())) {
    return;
  }
  for (const std::string& site : recipients) {
    deps_.environment->Send(site, *message);
  }
  const absl::Time broadcast = At().now;
  deps_.metrics->ObservePhase(RoundPhase::kAggregate, made - closing);
  deps_.metrics->ObservePhase(RoundPhase::kApply, applied - made);
  deps_.metrics->ObservePhase(RoundPhase::kJournal, journaled - applied);
  deps_.metrics->ObservePhase(RoundPhase::kBroadcast, broadcast - journaled);
  CountRound(journaled_.spec.name(), close, record, *deps_.metrics);
  summary_.RoundCommitted(record, broadcast);
  TakeSnapshotIfDue(pending->record->size());
  if (failed_) {
    return;
  }
  ForecastDisk();
  Dispatch(RoundCommitted{host_->state_hash(), enough_});
}

// The last state is kept as well: it is what gets exported.
void ActiveRun::TakeSnapshotIfDue(uint64_t record_bytes) {
  const bool last = IsLast(host_->round());
  if (!host_->SnapshotDue() && !last) {
    return;
  }
  host_->PrepareSnapshot();
  if (last || record_bytes <= config_.max_inline()) {
    KeepDueSnapshot();
  } else {
    // The sites are about to ask for the commit, and a snapshot of a large model takes as long as sending it.
    deps_.environment->KeepSnapshotSoon(id());
  }
}

bool ActiveRun::KeepDueSnapshot() {
  if (failed_ || over() || !host_->has_prepared_snapshot()) {
    return !failed_;
  }
  std::set<uint64_t> wanted;
  for (const auto& [site, sync] : unfinished_syncs_) {
    if (sync.plan.needs_snapshot() && host_->StillServes(sync.plan)) {
      wanted.insert(sync.plan.snapshot_round());
    }
  }
  if (!Survives(host_->SaveSnapshot(wanted))) {
    return false;
  }
  deps_.metrics->SetSnapshotTime(At().wall);
  return true;
}

absl::StatusOr<std::shared_ptr<const v1::CoordinatorMessage>> ActiveRun::CommitMessage(uint64_t round, const StoredBytes& record,
                                                                                       const std::string& state_hash) const {
  auto message = std::make_shared<v1::CoordinatorMessage>();
  v1::Commit& commit = *message->mutable_commit();
  commit.set_run_id(id());
  commit.set_round(round);
  if (record.size() <= config_.max_inline()) {
    TRIBUTARY_ASSIGN_OR_RETURN(*commit.mutable_record(), ReadAll(record));
  }
  commit.set_state_hash(state_hash);
  commit.set_report(IsLast(round));
  return message;
}

void ActiveRun::Finish(const EndRun& end) {
  if (host_->position().open.has_value()) {
    deps_.metrics->RoundEnded(RoundOutcome::kFailed, At().now - engine_.round_start());
  } else {
    if (!Survives(host_->SaveSnapshot({}))) {
      return;
    }
    deps_.metrics->SetSnapshotTime(At().wall);
  }
  accounts_.AddTailToLastRecord();
  if (accounts_.last_record().has_value() &&
      !Survives(deps_.journal->ReplaceAccounts(id(), *accounts_.last_record(), accounts_.SiteTotals()))) {
    return;
  }
  if (!Survives(SetState(end.state, end.reason))) {
    return;
  }
  CountEnd(end.state, *deps_.metrics);
  deps_.metrics->SetRun(journaled_.spec.name(), StateName(end.state));
  summary_.Flush(At().now);
  Log(end.state == v1::FAILED ? LogLevel::kError : LogLevel::kInfo, "coordinator", "run ", id(), " ", StateName(end.state), ": ",
      end.reason);
  // Before the last message, whose bytes are in no record any more.
  ended_ = Status();
  deps_.environment->Broadcast(id(), std::make_shared<const v1::CoordinatorMessage>(RunEndMessage(*ended_)));
}

// Logs what changed of the run's standing, once, and tells who watches. How a round fills up is not logged.
void ActiveRun::TellChanges() {
  const v1::RunState state = engine_.state();
  const std::string& reason = engine_.reason();
  if (state == told_state_ && reason == told_reason_) {
    return;
  }
  const bool is_new = state != told_state_;
  // Running and waiting may take turns as fast as a site comes and goes.
  const bool is_decision = is_new && state != v1::WAITING && state != v1::RUNNING;
  if (is_new) {
    deps_.metrics->SetRun(journaled_.spec.name(), StateName(state));
    standing_line_.Forget();
  }
  const bool warns = !is_new && state != v1::WAITING && !engine_.reporting();
  if (!warns || engine_.short_of_quorum()) {
    if (const auto left_out = standing_line_.Tell(reason, At().now); left_out.has_value() || is_decision) {
      summary_.Flush(At().now);
      Log(warns ? LogLevel::kWarning : LogLevel::kInfo, "coordinator", warns ? "" : absl::StrCat(StateName(state), ": "), reason,
          left_out.value_or(""), LogField("run", id()));
    }
  }
  told_state_ = state;
  told_reason_ = reason;
  deps_.environment->OnStandingChanged(id());
}

// Durable with the state that comes of it.
void ActiveRun::NoteAct(absl::string_view kind, const OperatorAct& act) {
  deps_.journal->NoteEvent(id(), {UnixMillis(), "", std::string(kind), host_->round(), Excerpt(act.reason), act.operator_name});
}

absl::Status ActiveRun::KeepAccounts() {
  return accounts_.last_record().has_value() ? deps_.journal->ReplaceAccounts(id(), *accounts_.last_record(), accounts_.SiteTotals())
                                             : deps_.journal->Flush();
}

// What came before an operator's word counts before it.
absl::Status ActiveRun::SettleForOperator() {
  if (!TakeHeldUpdates()) {
    return StorageHasFailed();
  }
  return over() ? absl::FailedPreconditionError(absl::StrCat("run ", id(), " is over: ", journaled_.reason)) : absl::OkStatus();
}

absl::Status ActiveRun::Pause(const OperatorAct& act) {
  TRIBUTARY_RETURN_IF_ERROR(SettleForOperator());
  if (engine_.stopping() || engine_.reporting()) {
    return absl::FailedPreconditionError(absl::StrCat("run ", id(), " is ending: ", engine_.reason()));
  }
  // Pausing what is paused gives it another reason, if there is one.
  if (engine_.paused() && act.reason.empty()) {
    return absl::OkStatus();
  }
  const std::string why = Told("paused", act);
  NoteAct("paused", act);
  if (const absl::Status set = SetState(v1::PAUSED, why); !Survives(set)) {
    return set;
  }
  Dispatch(PauseRequested{why});
  return absl::OkStatus();
}

absl::Status ActiveRun::Resume(const OperatorAct& act) {
  TRIBUTARY_RETURN_IF_ERROR(SettleForOperator());
  if (!engine_.paused()) {
    return NotPaused(id(), engine_.state());
  }
  NoteAct("resumed", act);
  const v1::RunState state = engine_.open_round() == 0 ? v1::WAITING : v1::RUNNING;
  if (const absl::Status set = SetState(state, Told("resumed", act)); !Survives(set)) {
    return set;
  }
  Dispatch(ResumeRequested{});
  return absl::OkStatus();
}

absl::Status ActiveRun::Extend(uint64_t rounds, const OperatorAct& act) {
  TRIBUTARY_RETURN_IF_ERROR(SettleForOperator());
  TRIBUTARY_ASSIGN_OR_RETURN(const std::optional<uint64_t> enough_at, EnoughAt(*deps_.journal, journaled_, host_->round()));
  TRIBUTARY_ASSIGN_OR_RETURN(const JournaledRun extended, Extended(journaled_, rounds, enough_at, act));
  NoteAct("extended", act);
  if (const absl::Status replaced = deps_.journal->ReplaceRun(extended); !Survives(replaced)) {
    return replaced;
  }
  journaled_ = extended;
  enough_.reset();
  summary_.SetRounds(rounds);
  ForecastDisk();
  // They consented to fewer rounds. A session that begins again loses nothing, and asks.
  std::vector<std::string> connected;
  for (const auto& [name, site] : deps_.membership->sites()) {
    if (site.session) {
      connected.push_back(name);
    }
  }
  for (const std::string& name : connected) {
    deps_.environment->Close(name, absl::UnavailableError(absl::StrCat("run ", id(), " has more rounds now, and is offered anew")));
  }
  Dispatch(RunExtended{rounds});
  return absl::OkStatus();
}

absl::Status ActiveRun::ReadmitSite(const std::string& site, const OperatorAct& act) {
  TRIBUTARY_RETURN_IF_ERROR(SettleForOperator());
  TRIBUTARY_RETURN_IF_ERROR(CheckQuarantined(accounts_.Find(site), site));
  Readmit(accounts_.site(site));
  NoteAct("readmitted", {act.operator_name, absl::StrCat("site ", site)});
  if (const absl::Status kept = KeepAccounts(); !Survives(kept)) {
    return kept;
  }
  LogInfo("coordinator", Told("readmitted", act), LogField("run", id()), LogField("site", site));
  deps_.environment->Close(site, absl::UnavailableError(absl::StrCat("run ", id(), " takes this site again, and is offered anew")));
  Dispatch(MembersChanged{});
  return absl::OkStatus();
}

absl::Status ActiveRun::Stop(const OperatorAct& act) {
  TRIBUTARY_RETURN_IF_ERROR(SettleForOperator());
  const std::string why = Told("stopped", act);
  NoteAct("stopped", act);
  // Durable before it is answered, for the round in flight may outlive this process.
  if (const absl::Status set = SetState(v1::DRAINING, why); !Survives(set)) {
    return set;
  }
  Dispatch(StopRequested{why});
  return absl::OkStatus();
}

v1::RunStatus ActiveRun::Status() const {
  if (ended_.has_value()) {
    return *ended_;
  }
  v1::RunStatus status = StatusOfActive(journaled_, *host_, accounts_);
  status.set_state(engine_.state());
  status.set_reason(engine_.reason());
  std::map<std::string, v1::SiteStatus> sites;
  for (const v1::SiteStatus& totals : accounts_.SiteTotals()) {
    sites[totals.site()] = totals;
  }
  for (const auto& [name, site] : deps_.membership->sites()) {
    v1::SiteStatus& entry = sites[name];
    entry.set_site(name);
    entry.set_connected(site.session);
    entry.set_activity(Activity(name));
  }
  for (auto& [name, site] : sites) {
    *status.add_sites() = std::move(site);
  }
  return status;
}

std::string ActiveRun::Activity(const std::string& name) const {
  const auto mismatch = last_mismatch_.find(name);
  const std::string idle = engine_.BenchedUntil(name) == 0 ? "ready" : absl::StrCat("benched until round ", engine_.BenchedUntil(name));
  const std::string doing = !engine_.IsMember(name) ? idle : engine_.HoldsUpdateOf(name) ? "update received" : "training";
  return ActivityOf(deps_.membership->sites().at(name), accounts_.QuarantineOf(name), doing,
                    mismatch == last_mismatch_.end() ? std::nullopt : std::make_optional(mismatch->second));
}

}  // namespace tributary::coordinator
