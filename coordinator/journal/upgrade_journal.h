// The way of a journal from the format it has to the newest, and only when an operator says so: until then the release before this one
// still opens it.
#ifndef TRIBUTARY_COORDINATOR_JOURNAL_UPGRADE_JOURNAL_H_
#define TRIBUTARY_COORDINATOR_JOURNAL_UPGRADE_JOURNAL_H_

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/journal/journal.h"
#include "coordinator/journal/journal_disk.h"

namespace tributary::coordinator {

// From which format to which; the same: it was in the newest, and nothing was done.
struct FormatChange {
  int64_t from = 0;
  int64_t to = 0;
};

// Writes the journal at `path` anew in the newest format and puts it in the place of the old one, all at once or not at all, a crash
// included. Every row must pass its checks, in the old one and again in the new one. `begin` is called before any of that work, unless
// there is nothing to do. When the new one is whole, and before it takes its place, `keep` is called with the journal as it was, to make a
// copy. An error of either leaves all as it was. After an error of JournalDisk::Rename the old one or the new one is there.
//
// Errors: as of open_journal.h. FailedPrecondition, exit code kStorage, also where another program has the journal open.
absl::StatusOr<FormatChange> UpgradeSqliteJournal(const std::string& path, const std::function<absl::Status(FormatChange)>& begin,
                                                  const std::function<absl::Status(Journal& old, FormatChange)>& keep,
                                                  JournalDisk& disk = JournalDisk::Real());

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_JOURNAL_UPGRADE_JOURNAL_H_
