#include "coordinator/journal/upgrade_journal.h"

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/exit_codes.h"
#include "common/status_macros.h"
#include "coordinator/journal/journal_format.h"
#include "coordinator/journal/open_to_look.h"
#include "coordinator/journal/schema.h"
#include "coordinator/journal/sqlite_database.h"
#include "coordinator/journal/sqlite_journal.h"
#include "coordinator/journal/table.h"

namespace tributary::coordinator {
namespace {

absl::Status CheckEverything(Journal& journal) {
  TRIBUTARY_RETURN_IF_ERROR(journal.CheckIntegrity());
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<JournaledRun> runs, journal.Runs());
  for (const JournaledRun& run : runs) {
    TRIBUTARY_RETURN_IF_ERROR(journal.CheckRun(run));
  }
  return absl::OkStatus();
}

// The journal is left as it is.
absl::StatusOr<FormatChange> Look(const std::string& path, const std::function<absl::Status(FormatChange)>& begin, JournalDisk& disk) {
  TRIBUTARY_ASSIGN_OR_RETURN(std::unique_ptr<Database> database, OpenToLook(path, disk));
  FormatChange change;
  TRIBUTARY_ASSIGN_OR_RETURN(change.from, CheckFormat(*database));
  change.to = kNewestFormat;
  if (change.from != change.to) {
    TRIBUTARY_RETURN_IF_ERROR(begin(change));
    TRIBUTARY_ASSIGN_OR_RETURN(const std::unique_ptr<SqliteJournal> journal, SqliteJournal::Over(std::move(database), nullptr, nullptr));
    TRIBUTARY_RETURN_IF_ERROR(CheckEverything(*journal));
  }
  return change;
}

// All of `old` in a new file at `path`, checked.
absl::Status Rewrite(Database& old, FormatChange change, const std::string& path, JournalDisk& disk) {
  TRIBUTARY_ASSIGN_OR_RETURN(std::unique_ptr<Database> fresh, CreateDatabase(path, path, change.to, disk));
  TRIBUTARY_RETURN_IF_ERROR(fresh->Execute("BEGIN IMMEDIATE"));
  TRIBUTARY_RETURN_IF_ERROR(VisitTables(change.from, [&](const auto& spec) {
    Table from(&old, spec, change.from);
    Table to(fresh.get(), spec, change.to);
    return from.CopyTo(to);
  }));
  TRIBUTARY_RETURN_IF_ERROR(fresh->Execute("COMMIT"));
  // All of it into the one file that is renamed.
  TRIBUTARY_RETURN_IF_ERROR(fresh->Execute("PRAGMA wal_checkpoint(TRUNCATE)"));
  TRIBUTARY_ASSIGN_OR_RETURN(const std::unique_ptr<SqliteJournal> journal, SqliteJournal::Over(std::move(fresh), nullptr, nullptr));
  return CheckEverything(*journal);
}

// Of a journal that this program has closed. The last connection removes the log and its index; where one of them is still there, another
// program has a connection, and SQLite would apply them to whatever file bears the journal's name.
absl::Status CheckClosed(const std::string& path, JournalDisk& disk) {
  for (const char* const suffix : {"-wal", "-shm"}) {
    TRIBUTARY_ASSIGN_OR_RETURN(const std::optional<int64_t> size, disk.Size(path + suffix));
    if (size.has_value()) {
      return WithExitCode(absl::FailedPreconditionError(absl::StrCat("journal ", path, " is in use by another program; end that first")),
                          ExitCode::kStorage);
    }
  }
  return absl::OkStatus();
}

// Leaves everything in the two files, without a log.
absl::Status WriteAnew(const std::string& path, FormatChange change, const std::string& fresh,
                       const std::function<absl::Status(Journal&, FormatChange)>& keep, JournalDisk& disk) {
  {
    TRIBUTARY_ASSIGN_OR_RETURN(const std::unique_ptr<Database> old, Database::Open(path, path, SQLITE_OPEN_READWRITE, disk.vfs()));
    TRIBUTARY_RETURN_IF_ERROR(Rewrite(*old, change, fresh, disk));
    TRIBUTARY_RETURN_IF_ERROR(old->Execute("PRAGMA wal_checkpoint(TRUNCATE)"));
  }
  // Before the copy, so that there is none if the answer is no; and after it, which may take long.
  TRIBUTARY_RETURN_IF_ERROR(CheckClosed(path, disk));
  {
    TRIBUTARY_ASSIGN_OR_RETURN(std::unique_ptr<Database> database, OpenToLook(path, disk));
    TRIBUTARY_ASSIGN_OR_RETURN(const std::unique_ptr<SqliteJournal> old, SqliteJournal::Over(std::move(database), nullptr, nullptr));
    TRIBUTARY_RETURN_IF_ERROR(keep(*old, change));
  }
  return CheckClosed(path, disk);
}

}  // namespace

absl::StatusOr<FormatChange> UpgradeSqliteJournal(const std::string& path, const std::function<absl::Status(FormatChange)>& begin,
                                                  const std::function<absl::Status(Journal& old, FormatChange)>& keep, JournalDisk& disk) {
  TRIBUTARY_ASSIGN_OR_RETURN(const std::optional<int64_t> size, disk.Size(path));
  if (!size.has_value()) {
    return absl::NotFoundError(absl::StrCat("there is no journal ", path, "; name the coordinator's data_dir"));
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const std::shared_ptr<const void> lock, disk.Lock(path));
  TRIBUTARY_ASSIGN_OR_RETURN(const FormatChange change, Look(path, begin, disk));
  if (change.from == change.to) {
    return change;
  }
  const std::string fresh = path + ".new";
  if (const absl::Status written = WriteAnew(path, change, fresh, keep, disk); !written.ok()) {
    RemoveDatabase(fresh, disk).IgnoreError();  // the next attempt does, too
    return written;
  }
  TRIBUTARY_RETURN_IF_ERROR(disk.Rename(fresh, path));
  return change;
}

}  // namespace tributary::coordinator
