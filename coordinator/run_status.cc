// What operators are told: runs, their histories, and the server.
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/checksum.h"
#include "common/files.h"
#include "common/log.h"
#include "common/status_macros.h"
#include "coordinator/coordinator_impl.h"

namespace tributary::coordinator {
namespace {

constexpr size_t kMaxRunsListed = 1000;

}  // namespace

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
  TRIBUTARY_ASSIGN_OR_RETURN(const auto losses, deps_.journal->ValidationLosses(run->journaled.run_id));
  return MakeHistory(commits, losses);
}

v1::RunStatus CoordinatorImpl::StatusOf(Run& run) {
  if (active_ != nullptr && active_->id() == run.journaled.run_id) {
    return StatusOfActive();
  }
  if (run.ended.has_value()) {
    return *run.ended;
  }
  absl::StatusOr<v1::RunStatus> status = StatusOfEnded(run.journaled);
  if (!status.ok()) {
    // Its state is still worth telling.
    LogError("coordinator", "run ", run.journaled.run_id, ": ", status.status().message());
    status = v1::RunStatus();
    status->set_run_id(run.journaled.run_id);
    *status->mutable_spec() = run.journaled.spec;
    status->set_state(run.journaled.state);
    status->set_reason(run.journaled.reason);
  }
  if (IsOver(run.journaled.state)) {
    run.ended = *status;
  } else if (active_ != nullptr) {
    status->set_reason(absl::StrCat("queued behind run ", active_->id()));
  }
  return *std::move(status);
}

v1::RunStatus CoordinatorImpl::StatusOfActive() {
  const RunHost& host = *active_->host;
  const RunAccounts& accounts = active_->accounts;
  const Run& run = *FindRun(active_->id());
  v1::RunStatus status;
  status.set_run_id(host.run_id());
  *status.mutable_spec() = host.model().spec;
  status.set_state(active_->engine.state());
  status.set_reason(active_->engine.reason());
  status.set_round(host.round());
  status.set_state_hash(host.state_hash());
  std::map<std::string, v1::SiteStatus> sites;
  for (const v1::SiteStatus& totals : accounts.SiteTotals()) {
    sites[totals.site()] = totals;
  }
  for (const auto& [name, site] : membership_.sites()) {
    v1::SiteStatus& entry = sites[name];
    entry.set_site(name);
    entry.set_connected(site.session);
    entry.set_activity(Activity(name));
  }
  for (auto& [name, site] : sites) {
    *status.add_sites() = std::move(site);
  }
  if (const std::optional<double> loss = accounts.LatestTrainLoss(); loss.has_value()) {
    status.set_train_loss(*loss);
  }
  if (const std::optional<double> loss = accounts.LatestValidationLoss(); loss.has_value()) {
    status.set_val_loss(*loss);
  }
  status.set_parameters(static_cast<uint64_t>(host.model().layout.size()));
  if (accounts.last_record().has_value()) {
    *status.mutable_last_round() = *accounts.last_record();
  }
  status.set_submitted_unix_ms(run.journaled.submitted_unix_ms);
  status.set_finished_unix_ms(run.journaled.finished_unix_ms);
  status.set_bytes_up_total(accounts.totals().up);
  status.set_bytes_down_total(accounts.totals().down);
  return status;
}

// Of a run that is not active, from the journal.
absl::StatusOr<v1::RunStatus> CoordinatorImpl::StatusOfEnded(const JournaledRun& run) {
  v1::RunStatus status;
  status.set_run_id(run.run_id);
  *status.mutable_spec() = run.spec;
  status.set_state(run.state);
  status.set_reason(run.reason);
  status.set_submitted_unix_ms(run.submitted_unix_ms);
  status.set_finished_unix_ms(run.finished_unix_ms);
  TRIBUTARY_ASSIGN_OR_RETURN(const RunModel model, RunModel::Of(run.spec));
  status.set_parameters(static_cast<uint64_t>(model.layout.size()));
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<CommitSummary> commits, deps_.journal->CommitSummaries(run.run_id));
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<v1::SiteStatus> totals, deps_.journal->SiteTotals(run.run_id));
  TRIBUTARY_ASSIGN_OR_RETURN(const auto losses, deps_.journal->ValidationLosses(run.run_id));
  RunAccounts accounts;
  accounts.Restore(commits, totals, losses);
  if (!commits.empty()) {
    status.set_round(commits.back().round);
    status.set_state_hash(DigestBytes(commits.back().state_hash));
    *status.mutable_last_round() = commits.back().round_record;
  } else {
    TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<JournaledSnapshot> snapshots, deps_.journal->Snapshots(run.run_id));
    if (!snapshots.empty()) {
      status.set_state_hash(DigestBytes(snapshots.front().state_hash));
    }
  }
  for (const v1::SiteStatus& site : totals) {
    *status.add_sites() = site;
  }
  if (const std::optional<double> loss = accounts.LatestTrainLoss(); loss.has_value()) {
    status.set_train_loss(*loss);
  }
  if (const std::optional<double> loss = accounts.LatestValidationLoss(); loss.has_value()) {
    status.set_val_loss(*loss);
  }
  status.set_bytes_up_total(accounts.totals().up);
  status.set_bytes_down_total(accounts.totals().down);
  return status;
}

std::string CoordinatorImpl::Activity(const std::string& name) const {
  const Membership::Site& site = membership_.sites().at(name);
  switch (site.presence) {
    case Presence::kAway:
      return site.leased ? "connection lost" : "away";
    case Presence::kConnected:
      return "connected";
    case Presence::kOffered:
      return "asked for its consent";
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
  const char* const doing = !active_->engine.IsMember(name)       ? "ready"
                            : active_->engine.HoldsUpdateOf(name) ? "update received"
                                                                  : "training";
  const auto mismatch = active_->last_mismatch.find(name);
  return mismatch == active_->last_mismatch.end() ? doing : absl::StrCat(doing, "; its state differed in round ", mismatch->second);
}

v1::ServerInfo CoordinatorImpl::GetServerInfo() {
  v1::ServerInfo info;
  info.set_software_version(TRIBUTARY_VERSION);
  info.set_protocol_version(kProtocolVersion);
  info.set_unix_ms(UnixMillis());
  if (const absl::StatusOr<uint64_t> free = FreeBytes(config_.data_dir()); free.ok()) {
    info.set_data_dir_free_bytes(*free);
  }
  for (const auto& [site, session] : sessions_) {
    if (session.greeted) {
      info.add_sites_connected(site);
    }
  }
  return info;
}

void CoordinatorImpl::Notify(const std::string& run_id) {
  if (observer_) {
    observer_(run_id);
  }
}

}  // namespace tributary::coordinator
