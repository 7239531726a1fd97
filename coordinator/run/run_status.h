// What operators and sites are told of a run.
#ifndef TRIBUTARY_COORDINATOR_RUN_RUN_STATUS_H_
#define TRIBUTARY_COORDINATOR_RUN_RUN_STATUS_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "coordinator/journal/journal.h"
#include "coordinator/metrics.h"
#include "coordinator/run/membership.h"
#include "coordinator/run/run_accounts.h"
#include "coordinator/run/run_host.h"
#include "tributary/v1/run.pb.h"
#include "tributary/v1/session.pb.h"

namespace tributary::coordinator {

// Of a run in progress, but for its state and what its sites are doing.
v1::RunStatus StatusOfActive(const JournaledRun& run, const RunHost& host, const RunAccounts& accounts);

// "running".
std::string StateName(v1::RunState state);

// Where the run stands, in metrics that know nothing of it yet.
void ShowStanding(const v1::RunStatus& status, CoordinatorMetrics& metrics);
void ShowEvaluation(const std::string& run, const JournaledEvaluation& evaluation, CoordinatorMetrics& metrics);
// How a site with a session shows in them.
SiteState SiteStateOf(Presence presence);
// What the site is doing, for people. `quarantine`: why the run has quarantined it for its updates, or empty; `in_round`: what it is doing
// in the round if it is ready; `mismatch`: the round in which its state last differed from the log's.
std::string ActivityOf(const Membership::Site& site, absl::string_view quarantine, absl::string_view in_round,
                       std::optional<uint64_t> mismatch);
// A run has ended in this state.
void CountEnd(v1::RunState state, CoordinatorMetrics& metrics);

// What is known of a run without looking further.
v1::RunStatus BareStatus(const JournaledRun& run);
// Of a run that is not in progress. DataLoss: its rows are damaged.
absl::StatusOr<v1::RunStatus> StatusFromJournal(Journal& journal, const JournaledRun& run);

v1::CoordinatorMessage RunEndMessage(const v1::RunStatus& status);

// The answer to who would resume a run in this state. FailedPrecondition, always.
absl::Status NotPaused(const std::string& run_id, v1::RunState state);

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_RUN_RUN_STATUS_H_
