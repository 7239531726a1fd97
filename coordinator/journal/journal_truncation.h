// Taking a run of a journal back to an earlier round.
#ifndef TRIBUTARY_COORDINATOR_JOURNAL_JOURNAL_TRUNCATION_H_
#define TRIBUTARY_COORDINATOR_JOURNAL_JOURNAL_TRUNCATION_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/journal/journal_tables.h"
#include "coordinator/journal/run_ref.h"
#include "coordinator/journal/sqlite_database.h"

namespace tributary::coordinator {

// The rows' part of Journal::Truncate, in a transaction that the caller began: all but what `settle` is for. Returns what was damaged and
// went. Errors as there.
absl::StatusOr<std::vector<std::string>> TakeBack(Database& database, JournalTables& tables, const RunRef& run, uint64_t round);

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_JOURNAL_JOURNAL_TRUNCATION_H_
