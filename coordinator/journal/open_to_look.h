// A connection that leaves a stopped coordinator's folder as it is.
#ifndef TRIBUTARY_COORDINATOR_JOURNAL_OPEN_TO_LOOK_H_
#define TRIBUTARY_COORDINATOR_JOURNAL_OPEN_TO_LOOK_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "coordinator/journal/journal_disk.h"
#include "coordinator/journal/sqlite_database.h"

namespace tributary::coordinator {

// A journal without a write-ahead log is opened as a file that cannot change, so that SQLite makes no files beside it. Beside one with a
// log SQLite makes its index of the log anew. Whoever calls this holds the folder's lock.
absl::StatusOr<std::unique_ptr<Database>> OpenToLook(const std::string& path, JournalDisk& disk);

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_JOURNAL_OPEN_TO_LOOK_H_
