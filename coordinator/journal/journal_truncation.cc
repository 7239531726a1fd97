#include "coordinator/journal/journal_truncation.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "proto/run_state.h"

namespace tributary::coordinator {
namespace {

absl::StatusOr<std::vector<std::string>> DropDamaged(Database& database, const JournalTables& tables, const RunRef& run) {
  struct Part {
    const char* name;
    absl::Status status;
    const char* drop;
  };
  const Part parts[] = {
      {"counters", tables.commits.SiteTotals(run).status(), "DELETE FROM site_totals WHERE run = ?"},
      {"arrival times", tables.commits.LatestArrivals(run).status(), "DELETE FROM arrivals WHERE run = ?"},
      {"validation losses", tables.snapshots.Evaluations(run).status(), "DELETE FROM validation_losses WHERE run = ?"},
      {"events", tables.events.Events(run).status(), "DELETE FROM events WHERE run = ?"},
      {"evidence", tables.events.Evidence(run).status(), "DELETE FROM evidence WHERE run = ?"},
  };
  std::vector<std::string> dropped;
  for (const Part& part : parts) {
    if (absl::IsDataLoss(part.status)) {
      TRIBUTARY_RETURN_IF_ERROR(Query(database, part.drop).Int(run.number).Run());
      dropped.emplace_back(part.name);
    } else {
      TRIBUTARY_RETURN_IF_ERROR(part.status);
    }
  }
  return dropped;
}

// Of a run that was being stopped, the stop is taken back too; one that was taken back before gets another reason. From which round on
// stop_when counts is taken back like the rounds: the evaluations to come would not be looked at.
absl::Status Queue(JournalTables& tables, const RunRef& run, uint64_t round) {
  TRIBUTARY_ASSIGN_OR_RETURN(std::vector<JournaledRun> runs, tables.runs.All());
  const auto found = std::find_if(runs.begin(), runs.end(), [&run](const JournaledRun& journaled) { return journaled.run_id == run.id; });
  if (found == runs.end()) {
    return absl::OkStatus();
  }
  if (IsOver(found->state) || found->state == v1::DRAINING || found->state == v1::SUBMITTED) {
    found->state = v1::SUBMITTED;
    found->reason = absl::StrCat("taken back to round ", round);
    found->finished_unix_ms = 0;
  }
  if (found->spec.stop_when().after() > round) {
    found->spec.mutable_stop_when()->set_after(round);
  }
  return tables.runs.Replace(run, *found);
}

}  // namespace

absl::StatusOr<std::vector<std::string>> TakeBack(Database& database, JournalTables& tables, const RunRef& run, uint64_t round) {
  TRIBUTARY_RETURN_IF_ERROR(tables.rounds.DropAfter(run, round));
  TRIBUTARY_RETURN_IF_ERROR(tables.snapshots.DropAfter(run, round));
  TRIBUTARY_RETURN_IF_ERROR(tables.commits.DropAfter(run, round));
  TRIBUTARY_ASSIGN_OR_RETURN(std::vector<std::string> dropped, DropDamaged(database, tables, run));
  TRIBUTARY_RETURN_IF_ERROR(Queue(tables, run, round));
  return dropped;
}

}  // namespace tributary::coordinator
