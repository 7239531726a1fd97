#include "coordinator/journal/journal_check.h"

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "proto/run_state.h"

namespace tributary::coordinator {
namespace {

// SQLite's own check reads the whole file, and so does the check of the chain: above this size a start would take too long, and rows are
// checked as they are read instead.
constexpr int64_t kFullCheckBytes = int64_t{256} << 20;

enum class Depth { kForStart, kWhole };

absl::Status CheckReferences(Database& database) {
  // A row whose run is not there would never be read, and so never fail its checksum: it would be missing without a word.
  Query check(database, "PRAGMA foreign_key_check");
  TRIBUTARY_ASSIGN_OR_RETURN(const bool found, check.Step());
  return found ? DamagedJournal(database.path(), absl::StrCat("a row of ", check.GetBytes(0), " is of a run that is not there"))
               : absl::OkStatus();
}

absl::Status CheckRun(Database& database, const JournalTables& tables, const JournaledRun& journaled, Depth depth) {
  TRIBUTARY_ASSIGN_OR_RETURN(const RunRef run, tables.runs.Find(journaled.run_id));
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<CommitSummary> summaries, tables.commits.Summaries(run));
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<JournaledSnapshot> snapshots, tables.snapshots.All(run));
  TRIBUTARY_RETURN_IF_ERROR(tables.rounds.Open(run).status());
  TRIBUTARY_RETURN_IF_ERROR(tables.commits.SiteTotals(run).status());
  TRIBUTARY_RETURN_IF_ERROR(tables.snapshots.Evaluations(run).status());
  TRIBUTARY_RETURN_IF_ERROR(tables.commits.LatestArrivals(run).status());
  TRIBUTARY_RETURN_IF_ERROR(tables.events.Events(run).status());
  TRIBUTARY_RETURN_IF_ERROR(tables.events.Evidence(run).status());
  uint64_t bytes = 0;
  uint64_t pruned = 0;
  for (size_t i = 0; i < summaries.size(); ++i) {
    if (summaries[i].round != i + 1) {
      return DamagedJournal(database.path(), absl::StrCat("run ", run.id, " has no commit of round ", i + 1));
    }
    if (summaries[i].record_bytes == 0 && pruned != i) {
      return DamagedJournal(database.path(), absl::StrCat("run ", run.id, ": the record of round ", i + 1, " is gone"));
    }
    pruned += summaries[i].record_bytes == 0 ? 1 : 0;
    bytes += summaries[i].record_bytes;
  }
  if (pruned > 0 && (snapshots.empty() || snapshots.back().round < pruned)) {
    return DamagedJournal(database.path(), absl::StrCat("run ", run.id, " is pruned up to round ", pruned, ", where no snapshot is"));
  }
  const uint64_t last = summaries.size();
  if (depth == Depth::kWhole) {
    for (uint64_t round = 1; round <= last + 1; ++round) {
      TRIBUTARY_RETURN_IF_ERROR(tables.rounds.VisitUpdates(run, round, [](const JournaledUpdate&) { return absl::OkStatus(); }));
    }
  }
  // What is older than the newest snapshot is not replayed by a start, and is checked when it is read.
  const bool all_commits = depth == Depth::kWhole || bytes <= static_cast<uint64_t>(kFullCheckBytes) || snapshots.empty();
  const uint64_t first = all_commits ? pruned + 1 : snapshots.back().round + 1;
  return tables.commits.Visit(run, first, last, [](uint64_t, const JournaledCommit&) { return absl::OkStatus(); });
}

}  // namespace

absl::Status CheckIntegrity(Database& database) {
  // More than quick_check: it also compares the indexes, through which rows are found, with the tables.
  Query check(database, "PRAGMA integrity_check(1)");
  TRIBUTARY_ASSIGN_OR_RETURN(const bool found, check.Step());
  if (!found || check.GetBytes(0) != "ok") {
    return DamagedJournal(database.path(), found ? check.GetBytes(0) : "SQLite cannot check it");
  }
  return CheckReferences(database);
}

absl::Status CheckWholeRun(Database& database, const JournalTables& tables, const JournaledRun& run) {
  return CheckRun(database, tables, run, Depth::kWhole);
}

absl::Status CheckForStart(Database& database, const JournalTables& tables, JournalDisk& disk) {
  TRIBUTARY_ASSIGN_OR_RETURN(const std::optional<int64_t> size, disk.Size(database.path()));
  const bool whole_file = size.value_or(0) <= kFullCheckBytes;
  TRIBUTARY_RETURN_IF_ERROR(whole_file ? CheckIntegrity(database) : CheckReferences(database));
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<JournaledRun> runs, tables.runs.All());
  for (const JournaledRun& run : runs) {
    if (whole_file || !IsOver(run.state)) {
      TRIBUTARY_RETURN_IF_ERROR(CheckRun(database, tables, run, Depth::kForStart));
    }
  }
  return absl::OkStatus();
}

}  // namespace tributary::coordinator
