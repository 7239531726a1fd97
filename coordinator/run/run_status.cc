#include "coordinator/run/run_status.h"

#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/checksum.h"
#include "common/status_macros.h"
#include "coordinator/run/best_round.h"
#include "coordinator/run/round_report.h"
#include "coordinator/run/run_log.h"
#include "proto/config/run_options.h"

namespace tributary::coordinator {

namespace {

// Evaluations, losses and bytes.
void SetAccounts(const RunAccounts& accounts, v1::RunStatus& status) {
  if (const std::optional<double> loss = accounts.LatestTrainLoss(); loss.has_value()) {
    status.set_train_loss(*loss);
  }
  if (!accounts.evaluations().empty()) {
    const JournaledEvaluation& latest = accounts.evaluations().rbegin()->second;
    status.set_val_loss(latest.loss);
    SetMetrics(latest.metrics, *status.mutable_metrics());
  }
  if (const std::optional<JudgedRound> best = BestRound(status.spec(), accounts.evaluations()); best.has_value()) {
    status.set_best_round(best->round);
    status.mutable_best()->set_name(JudgedBy(status.spec()));
    status.mutable_best()->set_value(best->value);
  }
  status.set_bytes_up_total(accounts.totals().up);
  status.set_bytes_down_total(accounts.totals().down);
}

}  // namespace

v1::RunStatus StatusOfActive(const JournaledRun& run, const RunHost& host, const RunAccounts& accounts) {
  v1::RunStatus status;
  status.set_run_id(run.run_id);
  *status.mutable_spec() = run.spec;
  *status.mutable_optimizer_in_force() = host.model().in_force;
  status.mutable_optimizer_in_force()->mutable_learning_rate()->set_rounds(run.spec.optimizer().learning_rate().rounds());
  status.set_round(host.round());
  status.set_state_hash(host.state_hash());
  SetAccounts(accounts, status);
  status.set_parameters(static_cast<uint64_t>(host.model().layout.size()));
  if (accounts.last_record().has_value()) {
    *status.mutable_last_round() = *accounts.last_record();
  }
  status.set_submitted_unix_ms(run.submitted_unix_ms);
  status.set_finished_unix_ms(run.finished_unix_ms);
  return status;
}

std::string StateName(v1::RunState state) {
  return absl::AsciiStrToLower(v1::RunState_Name(state));
}

void ShowStanding(const v1::RunStatus& status, CoordinatorMetrics& metrics) {
  const std::string& run = status.spec().name();
  metrics.BeginRun(run);
  metrics.SetRun(run, StateName(status.state()));
  metrics.SetRound(run, status.round());
  if (status.has_train_loss()) {
    metrics.SetLoss(run, LossSplit::kTrain, status.train_loss());
  }
  if (status.has_val_loss()) {
    JournaledEvaluation evaluation = {status.val_loss()};
    for (const v1::Metric& metric : status.metrics()) {
      evaluation.metrics[metric.name()] = metric.value();
    }
    ShowEvaluation(run, evaluation, metrics);
  }
  if (status.has_last_round()) {
    metrics.SetCompressionRatio(run, CompressionRatio(status.last_round()));
  }
}

void ShowEvaluation(const std::string& run, const JournaledEvaluation& evaluation, CoordinatorMetrics& metrics) {
  metrics.SetLoss(run, LossSplit::kValidation, evaluation.loss);
  metrics.SetValidationMetrics(run, evaluation.metrics);
}

SiteState SiteStateOf(Presence presence) {
  switch (presence) {
    case Presence::kAway:
    case Presence::kConnected:
    case Presence::kOffered:
      return SiteState::kConnected;
    case Presence::kRefused:
    case Presence::kLeft:
      return SiteState::kRefused;
    case Presence::kSyncing:
      return SiteState::kSyncing;
    case Presence::kQuarantined:
      return SiteState::kQuarantined;
    case Presence::kReady:
      return SiteState::kReady;
  }
  return SiteState::kConnected;
}

std::string ActivityOf(const Membership::Site& site, absl::string_view quarantine, absl::string_view in_round,
                       std::optional<uint64_t> mismatch) {
  if (!quarantine.empty()) {
    return absl::StrCat("quarantined: ", quarantine);
  }
  switch (site.presence) {
    case Presence::kAway:
      return site.leased ? "connection lost" : "away";
    case Presence::kConnected:
      return "connected";
    case Presence::kOffered:
      return "waiting for its consent";
    case Presence::kRefused:
      return absl::StrCat("refused: ", site.note);
    case Presence::kLeft:
      return absl::StrCat("left: ", site.note);
    case Presence::kSyncing:
      return "downloading";
    case Presence::kQuarantined:
      return absl::StrCat("quarantined: ", site.note);
    case Presence::kReady:
      break;
  }
  return mismatch.has_value() ? absl::StrCat(in_round, "; its state differed in round ", *mismatch) : std::string(in_round);
}

void CountEnd(v1::RunState state, CoordinatorMetrics& metrics) {
  metrics.RunEnded(state == v1::FINISHED ? RunOutcome::kFinished : state == v1::FAILED ? RunOutcome::kFailed : RunOutcome::kStopped);
}

v1::RunStatus BareStatus(const JournaledRun& run) {
  v1::RunStatus status;
  status.set_run_id(run.run_id);
  *status.mutable_spec() = run.spec;
  status.set_state(run.state);
  status.set_reason(run.reason);
  return status;
}

absl::StatusOr<v1::RunStatus> StatusFromJournal(Journal& journal, const JournaledRun& run) {
  v1::RunStatus status = BareStatus(run);
  status.set_submitted_unix_ms(run.submitted_unix_ms);
  status.set_finished_unix_ms(run.finished_unix_ms);
  TRIBUTARY_ASSIGN_OR_RETURN(const RunModel model, RunModel::Of(run.spec));
  status.set_parameters(static_cast<uint64_t>(model.layout.size()));
  *status.mutable_optimizer_in_force() = model.in_force;
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<CommitSummary> commits, journal.CommitSummaries(run.run_id));
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<v1::SiteStatus> totals, journal.SiteTotals(run.run_id));
  TRIBUTARY_ASSIGN_OR_RETURN(const JournaledEvaluations evaluations, journal.Evaluations(run.run_id));
  RunAccounts accounts;
  accounts.Restore(commits, totals, evaluations);
  if (!commits.empty()) {
    status.set_round(commits.back().round);
    status.set_state_hash(DigestBytes(commits.back().state_hash));
    *status.mutable_last_round() = commits.back().round_record;
  } else {
    TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<JournaledSnapshot> snapshots, journal.Snapshots(run.run_id));
    if (!snapshots.empty()) {
      status.set_state_hash(DigestBytes(snapshots.front().state_hash));
    }
  }
  for (const v1::SiteStatus& site : totals) {
    *status.add_sites() = site;
  }
  SetAccounts(accounts, status);
  return status;
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

absl::Status NotPaused(const std::string& run_id, v1::RunState state) {
  return absl::FailedPreconditionError(absl::StrCat("run ", run_id, " is not paused: it is ", StateName(state)));
}

}  // namespace tributary::coordinator
