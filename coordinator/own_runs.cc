#include "coordinator/own_runs.h"

#include <set>

#include "absl/strings/str_cat.h"
#include "coordinator/run/run_sites.h"

namespace tributary::coordinator {
namespace {

v1::OwnRun OwnRunOf(const v1::RunStatus& status, const std::string& site) {
  v1::OwnRun run;
  run.set_run_id(status.run_id());
  *run.mutable_spec() = status.spec();
  run.set_state(status.state());
  run.set_reason(status.reason());
  run.set_round(status.round());
  run.set_state_hash(status.state_hash());
  run.set_submitted_unix_ms(status.submitted_unix_ms());
  run.set_finished_unix_ms(status.finished_unix_ms());
  if (status.has_best_round()) {
    run.set_best_round(status.best_round());
    *run.mutable_best() = status.best();
  }
  std::set<std::string> members(status.spec().participation().sites().begin(), status.spec().participation().sites().end());
  for (const v1::SiteStatus& other : status.sites()) {
    if (other.updates_included() > 0) {
      members.insert(other.site());
    }
    if (other.site() == site) {
      run.set_updates_included(other.updates_included());
      run.set_updates_late(other.updates_late());
      run.set_updates_rejected(other.updates_rejected());
    }
  }
  *run.mutable_members() = {members.begin(), members.end()};
  return run;
}

}  // namespace

v1::ListOwnRunsResponse OwnRuns(const v1::ListRunsResponse& all, const std::string& site, const std::string& wanted) {
  v1::ListOwnRunsResponse own;
  for (const v1::RunStatus& status : all.runs()) {
    const bool is_wanted = wanted.empty() || status.run_id() == wanted || status.spec().name() == wanted;
    if (is_wanted && TakesSite(status.spec(), site)) {
      *own.add_runs() = OwnRunOf(status, site);
      if (wanted.empty() && status.spec().model().has_custom()) {
        // A list of them all is for people; its tensors alone may fill a message.
        own.mutable_runs()->rbegin()->mutable_spec()->mutable_model()->mutable_custom()->clear_tensors();
      }
    }
    if (own.runs_size() == kMaxOwnRuns || (!wanted.empty() && own.runs_size() == 1)) {
      break;
    }
  }
  return own;
}

absl::Status CheckIsBest(const v1::RunStatus& status, uint64_t round) {
  if (status.has_best_round() && status.best_round() == round) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(absl::StrCat(
      "sites get the state of the best round alone, and ",
      status.has_best_round() ? absl::StrCat("that is round ", status.best_round(), " now") : "no round has been evaluated yet"));
}

}  // namespace tributary::coordinator
