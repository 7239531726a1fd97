// What makes a file a journal of a format (docs/reference/journal_format.md): its marks and its tables.
#ifndef TRIBUTARY_COORDINATOR_JOURNAL_JOURNAL_FORMAT_H_
#define TRIBUTARY_COORDINATOR_JOURNAL_JOURNAL_FORMAT_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/journal/journal_disk.h"

namespace tributary::coordinator {

class Database;

// This program reads and writes all formats from the first to the last. It creates journals in the newest, and leaves others in theirs
// until it is told to upgrade them, so that the release before it still opens them.
inline constexpr int64_t kOldestFormat = 2;
inline constexpr int64_t kNewestFormat = 6;

// The format of an open journal. DataLoss, exit code kDamaged: it is not a journal, is of a format that this program does not know, or its
// tables are not exactly those of its format.
absl::StatusOr<int64_t> CheckFormat(Database& database);

// Makes an empty journal at `path`, in place of what a creation that was interrupted may have left there. Messages call it `named`. It
// becomes durable with the database's next checkpoint, at the latest when that is closed.
absl::StatusOr<std::unique_ptr<Database>> CreateDatabase(const std::string& path, const std::string& named, int64_t format,
                                                         JournalDisk& disk);

// Makes an empty journal durable at `path`, under another name first, so that a file at `path` is always a whole journal: an empty file is
// damage, not youth.
absl::Status CreateJournal(const std::string& path, int64_t format, JournalDisk& disk);

// Removes the database at `path` with the files that SQLite keeps beside it. OK if there is none.
absl::Status RemoveDatabase(const std::string& path, JournalDisk& disk);

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_JOURNAL_JOURNAL_FORMAT_H_
