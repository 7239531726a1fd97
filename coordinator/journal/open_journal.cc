#include "coordinator/journal/open_journal.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "coordinator/journal/journal_check.h"
#include "coordinator/journal/journal_format.h"
#include "coordinator/journal/open_to_look.h"
#include "coordinator/journal/sqlite_database.h"
#include "coordinator/journal/sqlite_journal.h"

namespace tributary::coordinator {
namespace {

absl::Status CheckExists(const std::string& path, JournalDisk& disk) {
  TRIBUTARY_ASSIGN_OR_RETURN(const std::optional<int64_t> size, disk.Size(path));
  return size.has_value() ? absl::OkStatus()
                          : absl::NotFoundError(absl::StrCat("there is no journal ", path, "; name the coordinator's data_dir"));
}

// Beside the coordinator that owns the folder. It goes on writing, and what is seen here stays what it is now: SQLite's write-ahead log
// keeps it until this connection is closed.
absl::StatusOr<std::unique_ptr<Journal>> LookBesideItsOwner(const std::string& path, JournalDisk& disk) {
  TRIBUTARY_ASSIGN_OR_RETURN(std::unique_ptr<Database> database, Database::Open(path, path, SQLITE_OPEN_READONLY, disk.vfs()));
  TRIBUTARY_RETURN_IF_ERROR(database->Execute("BEGIN"));
  TRIBUTARY_RETURN_IF_ERROR(ReadPragma(*database, "SELECT COUNT(*) FROM sqlite_schema").status());  // from here on
  return SqliteJournal::Over(std::move(database), nullptr, nullptr);
}

// Looks, through a connection that cannot write, before the journal is opened for writing: a damaged file stays as it is.
absl::Status CheckBeforeStart(const std::string& path, JournalDisk& disk) {
  TRIBUTARY_ASSIGN_OR_RETURN(std::unique_ptr<Database> database, Database::Open(path, path, SQLITE_OPEN_READONLY, disk.vfs()));
  TRIBUTARY_ASSIGN_OR_RETURN(const std::unique_ptr<SqliteJournal> journal, SqliteJournal::Over(std::move(database), nullptr, nullptr));
  return journal->CheckForStart(disk);
}

// A journal that was looked at, by the owner of the lock.
absl::StatusOr<std::unique_ptr<SqliteJournal>> OpenToWrite(const std::string& path, std::shared_ptr<const void> lock,
                                                           std::function<void(double)> fsync_observer, JournalDisk& disk) {
  TRIBUTARY_ASSIGN_OR_RETURN(std::unique_ptr<Database> database, Database::Open(path, path, SQLITE_OPEN_READWRITE, disk.vfs()));
  for (const char* const pragma : {"PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", "PRAGMA foreign_keys = ON",
                                   "PRAGMA cell_size_check = ON", "PRAGMA journal_size_limit = 67108864"}) {
    TRIBUTARY_RETURN_IF_ERROR(database->Execute(pragma));
  }
  // What a killed process wrote and had not synced reads as well as the rest, as long as the machine has power. Nobody may be told of it
  // before it is durable.
  TRIBUTARY_RETURN_IF_ERROR(database->Execute("PRAGMA wal_checkpoint(PASSIVE)"));
  return SqliteJournal::Over(std::move(database), std::move(lock), std::move(fsync_observer));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Journal>> OpenSqliteJournal(const std::string& path, std::function<void(double)> fsync_observer,
                                                           JournalDisk& disk) {
  TRIBUTARY_ASSIGN_OR_RETURN(std::shared_ptr<const void> lock, disk.Lock(path));
  TRIBUTARY_ASSIGN_OR_RETURN(const std::optional<int64_t> size, disk.Size(path));
  if (!size.has_value()) {
    TRIBUTARY_ASSIGN_OR_RETURN(const std::optional<int64_t> log_size, disk.Size(path + "-wal"));
    if (log_size.has_value()) {
      return DamagedJournal(path, "the file is gone, but its write-ahead log is still there");
    }
    TRIBUTARY_RETURN_IF_ERROR(CreateJournal(path, kNewestFormat, disk));
  } else if (*size == 0) {
    return DamagedJournal(path, "it is empty");
  }
  TRIBUTARY_RETURN_IF_ERROR(CheckBeforeStart(path, disk));
  return OpenToWrite(path, std::move(lock), std::move(fsync_observer), disk);
}

absl::StatusOr<std::unique_ptr<Journal>> InspectSqliteJournal(const std::string& path) {
  JournalDisk& disk = JournalDisk::Real();
  TRIBUTARY_RETURN_IF_ERROR(CheckExists(path, disk));
  absl::StatusOr<std::shared_ptr<const void>> lock = disk.Lock(path);
  if (absl::IsFailedPrecondition(lock.status())) {
    return LookBesideItsOwner(path, disk);
  }
  TRIBUTARY_RETURN_IF_ERROR(lock.status());
  TRIBUTARY_ASSIGN_OR_RETURN(std::unique_ptr<Database> database, OpenToLook(path, disk));
  return SqliteJournal::Over(std::move(database), *std::move(lock), nullptr);
}

absl::StatusOr<std::unique_ptr<Journal>> RepairSqliteJournal(const std::string& path) {
  TRIBUTARY_RETURN_IF_ERROR(CheckExists(path, JournalDisk::Real()));
  TRIBUTARY_ASSIGN_OR_RETURN(std::shared_ptr<const void> lock, JournalDisk::Real().Lock(path));
  {
    TRIBUTARY_ASSIGN_OR_RETURN(const std::unique_ptr<Database> database, OpenToLook(path, JournalDisk::Real()));
    TRIBUTARY_RETURN_IF_ERROR(CheckFormat(*database).status());
    TRIBUTARY_RETURN_IF_ERROR(CheckIntegrity(*database));
  }
  return OpenToWrite(path, std::move(lock), nullptr, JournalDisk::Real());
}

}  // namespace tributary::coordinator
