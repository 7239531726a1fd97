// The round of each run that was started and not committed, and the updates that are kept.
#ifndef TRIBUTARY_COORDINATOR_JOURNAL_ROUND_TABLES_H_
#define TRIBUTARY_COORDINATOR_JOURNAL_ROUND_TABLES_H_

#include <cstdint>
#include <optional>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/journal/journal.h"
#include "coordinator/journal/run_ref.h"
#include "coordinator/journal/schema.h"
#include "coordinator/journal/sqlite_database.h"
#include "coordinator/journal/table.h"

namespace tributary::coordinator {

// Writes are for a transaction that the caller began. Errors as of Journal. Not thread-safe.
class RoundTables {
 public:
  // `database` outlives it.
  RoundTables(Database* database, int64_t format)
      : database_(*database), open_rounds_(database, kOpenRounds, format), updates_(database, kUpdates, format) {}

  // Replaces the open round; the updates of another that was open go.
  absl::Status Start(const RunRef& run, const JournaledRound& round);
  absl::Status Close(const RunRef& run);
  absl::StatusOr<std::optional<JournaledRound>> Open(const RunRef& run) const;

  // Whether this very update is there already. AlreadyExists: another of its site for the round is.
  absl::StatusOr<bool> HasUpdate(const RunRef& run, uint64_t round, const JournaledUpdate& update) const;
  absl::Status AddUpdate(const RunRef& run, uint64_t round, const JournaledUpdate& update);
  // In the order accepted, one at a time in memory; stops at the first error of `visit`.
  absl::Status VisitUpdates(const RunRef& run, uint64_t round, absl::FunctionRef<absl::Status(const JournaledUpdate&)> visit) const;
  absl::Status PruneUpdates(const RunRef& run, uint64_t last_round);
  // The updates of later rounds and the open round go, sound or not.
  absl::Status DropAfter(const RunRef& run, uint64_t round);

 private:
  Database& database_;
  Table<OfRun, JournaledRound> open_rounds_;
  Table<UpdateKey, JournaledUpdate> updates_;
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_JOURNAL_ROUND_TABLES_H_
