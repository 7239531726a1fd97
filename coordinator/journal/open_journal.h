// Opening a journal in SQLite: one process at a time, whole or not at all, and checked before anything is written.
//
// Errors of all: NotFound (no such file; not of OpenSqliteJournal, which makes one), FailedPrecondition with exit code kStorage (a
// coordinator uses the folder; not of InspectSqliteJournal), DataLoss with exit code kDamaged (not a journal, of a newer format, or it
// fails its checks; the message names the file and what to do, and the file is left as it is), else the storage's, exit code kStorage.
#ifndef TRIBUTARY_COORDINATOR_JOURNAL_OPEN_JOURNAL_H_
#define TRIBUTARY_COORDINATOR_JOURNAL_OPEN_JOURNAL_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "coordinator/journal/journal.h"
#include "coordinator/journal/journal_disk.h"

namespace tributary::coordinator {

// Opens `path`, in the format that it has, or creates it in the newest. `fsync_observer`, if given, is told the seconds of every durable
// write.
absl::StatusOr<std::unique_ptr<Journal>> OpenSqliteJournal(const std::string& path, std::function<void(double)> fsync_observer = nullptr,
                                                           JournalDisk& disk = JournalDisk::Real());

// Opens `path` to look at it: changes nothing, and checks no more than that it is a journal of a known format, so that a damaged one can be
// looked at too (reading a damaged row is DataLoss). While a coordinator uses the folder, this shows one moment of it; its write-ahead log
// cannot be cleared as long as somebody looks. Beside a journal that a killed coordinator left, SQLite makes its index of the
// write-ahead log anew.
absl::StatusOr<std::unique_ptr<Journal>> InspectSqliteJournal(const std::string& path);

// Opens `path` to take a run back (Truncate): SQLite's own check must pass, rows may be damaged.
absl::StatusOr<std::unique_ptr<Journal>> RepairSqliteJournal(const std::string& path);

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_JOURNAL_OPEN_JOURNAL_H_
