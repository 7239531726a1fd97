// The snapshots of each run, and the evaluations of its states.
#ifndef TRIBUTARY_COORDINATOR_JOURNAL_SNAPSHOT_TABLES_H_
#define TRIBUTARY_COORDINATOR_JOURNAL_SNAPSHOT_TABLES_H_

#include <cstdint>
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
      : database_(*database), snapshots_(database, kSnapshots, format), evaluations_(database, kEvaluations, format) {}

  absl::Status Add(const RunRef& run, const JournaledSnapshot& snapshot) { return snapshots_.Replace({run.number}, snapshot); }
  absl::Status Remove(const RunRef& run, uint64_t round);
  // Ascending by round.
  absl::StatusOr<std::vector<JournaledSnapshot>> All(const RunRef& run) const;

  absl::Status SetEvaluation(const RunRef& run, uint64_t round, const JournaledEvaluation& evaluation) {
    return evaluations_.Replace({run.number}, {round, evaluation.loss, evaluation.metrics});
  }
  absl::StatusOr<JournaledEvaluations> Evaluations(const RunRef& run) const;

  // What is of later rounds goes, sound or not.
  absl::Status DropAfter(const RunRef& run, uint64_t round);

 private:
  Database& database_;
  Table<OfRun, JournaledSnapshot> snapshots_;
  Table<OfRun, EvaluationRow> evaluations_;
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_JOURNAL_SNAPSHOT_TABLES_H_
