// The checks of an open journal: SQLite's own, and those of the rows (docs/reference/journal_format.md, "What is checked, and when").
//
// Errors: DataLoss, exit code kDamaged, says what is wrong; else the storage's.
#ifndef TRIBUTARY_COORDINATOR_JOURNAL_JOURNAL_CHECK_H_
#define TRIBUTARY_COORDINATOR_JOURNAL_JOURNAL_CHECK_H_

#include "absl/status/status.h"
#include "coordinator/journal/journal.h"
#include "coordinator/journal/journal_disk.h"
#include "coordinator/journal/journal_tables.h"
#include "coordinator/journal/sqlite_database.h"

namespace tributary::coordinator {

// SQLite's own check of the whole file, and that every row is of a run that is there.
absl::Status CheckIntegrity(Database& database);

// Every row of a run, that its commits have no gap, and the chain over them.
absl::Status CheckWholeRun(Database& database, const JournalTables& tables, const JournaledRun& run);

// Everything that a start relies on, in a time that a start may take: of a large file, SQLite's check and the runs that are over are left
// out, and what is older than a run's newest snapshot is checked when it is read.
absl::Status CheckForStart(Database& database, const JournalTables& tables, JournalDisk& disk);

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_JOURNAL_JOURNAL_CHECK_H_
