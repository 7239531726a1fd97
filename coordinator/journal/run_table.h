// The runs of a journal, and the numbers by which its other tables name them.
#ifndef TRIBUTARY_COORDINATOR_JOURNAL_RUN_TABLE_H_
#define TRIBUTARY_COORDINATOR_JOURNAL_RUN_TABLE_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "coordinator/journal/journal.h"
#include "coordinator/journal/run_ref.h"
#include "coordinator/journal/schema.h"
#include "coordinator/journal/sqlite_database.h"
#include "coordinator/journal/table.h"

namespace tributary::coordinator {

// Writes are for a transaction that the caller began. Errors as of Journal. Not thread-safe.
class RunTable {
 public:
  // `database` outlives it.
  RunTable(Database* database, int64_t format) : database_(*database), runs_(database, kRuns, format) {}

  // Reads the runs' numbers. Before Find.
  absl::Status Load();
  // NotFound. What it returns names `run_id`.
  absl::StatusOr<RunRef> Find(const std::string& run_id) const;
  // That the run of this number is durable, from here on found.
  void Learn(const std::string& run_id, int64_t number) { numbers_.emplace(run_id, number); }

  // AlreadyExists, else the number it got.
  absl::StatusOr<int64_t> Add(const JournaledRun& run);
  // All of it but its id.
  absl::Status Replace(const RunRef& run, const JournaledRun& journaled);
  absl::Status SetState(const RunRef& run, v1::RunState state, absl::string_view reason, int64_t finished_unix_ms);
  // In the order submitted.
  absl::StatusOr<std::vector<JournaledRun>> All() const;

 private:
  absl::StatusOr<bool> Next(Query& rows, RunKey& key, JournaledRun& run) const;

  Database& database_;
  Table<RunKey, JournaledRun> runs_;
  std::map<std::string, int64_t> numbers_;  // by id
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_JOURNAL_RUN_TABLE_H_
