// A journal's copy, and its way back to an earlier round.
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/files.h"
#include "common/status_macros.h"
#include "coordinator/journal/journal_rows.h"
#include "coordinator/journal/sqlite_journal.h"

namespace tributary::coordinator {

absl::Status SqliteJournal::BackUp(const std::string& path) {
  TRIBUTARY_RETURN_IF_ERROR(Query(*database_, "VACUUM INTO ?").Text(path).Run());
  return SyncPath(path);
}

absl::StatusOr<std::vector<std::string>> SqliteJournal::DropDamaged(int64_t run, const std::string& run_id) {
  struct Part {
    const char* name;
    absl::Status status;
    const char* drop;
  };
  const Part parts[] = {
      {"counters", SiteTotals(run_id).status(), "DELETE FROM site_totals WHERE run = ?"},
      {"arrival times", LatestArrivals(run_id).status(), "DELETE FROM arrivals WHERE run = ?"},
      {"validation losses", ValidationLosses(run_id).status(), "DELETE FROM validation_losses WHERE run = ?"},
      {"events", Events(run_id).status(), "DELETE FROM events WHERE run = ?"},
      {"evidence", Evidence(run_id).status(), "DELETE FROM evidence WHERE run = ?"},
  };
  std::vector<std::string> dropped;
  for (const Part& part : parts) {
    if (absl::IsDataLoss(part.status)) {
      TRIBUTARY_RETURN_IF_ERROR(Query(*database_, part.drop).Int(run).Run());
      dropped.emplace_back(part.name);
    } else {
      TRIBUTARY_RETURN_IF_ERROR(part.status);
    }
  }
  return dropped;
}

absl::StatusOr<std::vector<std::string>> SqliteJournal::Truncate(
    const std::string& run_id, uint64_t round, const std::function<absl::StatusOr<std::optional<JournaledSnapshot>>()>& settle) {
  TRIBUTARY_ASSIGN_OR_RETURN(const int64_t run, Number(run_id));
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<JournaledRun> runs, Runs());
  std::vector<std::string> dropped;
  TRIBUTARY_RETURN_IF_ERROR(Write([&]() -> absl::Status {
    for (const char* const drop :
         {"DELETE FROM commits WHERE run = ? AND round > ?", "DELETE FROM updates WHERE run = ? AND round > ?",
          "DELETE FROM snapshots WHERE run = ? AND round > ?", "DELETE FROM validation_losses WHERE run = ? AND round > ?"}) {
      TRIBUTARY_RETURN_IF_ERROR(Query(*database_, drop).Int(run).Unsigned(round).Run());
    }
    TRIBUTARY_RETURN_IF_ERROR(Query(*database_, "DELETE FROM open_rounds WHERE run = ?").Int(run).Run());
    {
      Query left(*database_, "SELECT COUNT(*) FROM commits WHERE run = ?");
      TRIBUTARY_RETURN_IF_ERROR(left.Int(run).Run());
      if (left.GetUnsigned(0) != round) {
        return DamagedRow(absl::StrCat("run ", run_id, " has only ", left.GetUnsigned(0), " commits of rounds up to ", round));
      }
    }
    TRIBUTARY_ASSIGN_OR_RETURN(dropped, DropDamaged(run, run_id));
    for (const JournaledRun& journaled : runs) {
      // Of a run that was being stopped, the stop is taken back too; one that was taken back before gets another reason.
      const bool queued = IsOver(journaled.state) || journaled.state == v1::DRAINING || journaled.state == v1::SUBMITTED;
      if (journaled.run_id != run_id || !queued) {
        continue;
      }
      const std::string spec = journaled.spec.SerializeAsString();
      const std::string reason = absl::StrCat("taken back to round ", round);
      TRIBUTARY_RETURN_IF_ERROR(
          Query(*database_, "UPDATE runs SET spec = ?, state = ?, reason = ?, finished_unix_ms = 0, crc = ? WHERE number = ?")
              .Blob(spec)
              .Int(v1::SUBMITTED)
              .Text(reason)
              .Int(RunCrc(run, run_id, spec, v1::SUBMITTED, reason, journaled.submitted_unix_ms, 0))
              .Int(run)
              .Run());
    }
    TRIBUTARY_ASSIGN_OR_RETURN(const std::optional<JournaledSnapshot> start, settle());
    return start.has_value() ? InsertSnapshot(run, *start) : absl::OkStatus();
  }));
  return dropped;
}

}  // namespace tributary::coordinator
