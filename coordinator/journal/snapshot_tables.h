// The snapshots of each run, and the validation losses of its states.
#ifndef TRIBUTARY_COORDINATOR_JOURNAL_SNAPSHOT_TABLES_H_
#define TRIBUTARY_COORDINATOR_JOURNAL_SNAPSHOT_TABLES_H_

#include <cstdint>
#include <map>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/journal/journal.h"
#include "coordinator/journal/run_ref.h"
#include "coordinator/journal/schema.h"
#include "coordinator/journal/sqlite_database.h"
#include "coordinator/journal/table.h"

namespace tributary::coordinator {

// Writes are for a transaction that the caller began. Errors as of Journal. Not thread-safe.
class SnapshotTables {
 public:
  // `database` outlives it.
  SnapshotTables(Database* database, int64_t format)
      : database_(*database), snapshots_(database, kSnapshots, format), losses_(database, kValidationLosses, format) {}

  absl::Status Add(const RunRef& run, const JournaledSnapshot& snapshot) { return snapshots_.Replace({run.number}, snapshot); }
  absl::Status Remove(const RunRef& run, uint64_t round);
  // Ascending by round.
  absl::StatusOr<std::vector<JournaledSnapshot>> All(const RunRef& run) const;

  absl::Status SetLoss(const RunRef& run, uint64_t round, double loss) { return losses_.Replace({run.number}, {round, loss}); }
  absl::StatusOr<std::map<uint64_t, double>> Losses(const RunRef& run) const;

  // What is of later rounds goes, sound or not.
  absl::Status DropAfter(const RunRef& run, uint64_t round);

 private:
  Database& database_;
  Table<OfRun, JournaledSnapshot> snapshots_;
  Table<OfRun, ValidationLossRow> losses_;
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_JOURNAL_SNAPSHOT_TABLES_H_
