#include "coordinator/journal/sqlite_database.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/exit_codes.h"
#include "common/files.h"
#include "common/status_macros.h"

namespace tributary::coordinator {

absl::Status DamagedJournal(const std::string& path, absl::string_view detail) {
  return WithExitCode(
      absl::DataLossError(
          absl::StrCat("journal ", path, " is damaged: ", detail, ". It was left as it is. `tributary journal verify ", FolderOf(path),
                       "` says more. Restore a backup of that folder; or, where only later rounds of a run are damaged, take the run back "
                       "with `tributary journal truncate-to`")),
      ExitCode::kDamaged);
}

Database::Database(sqlite3* database, std::string path) : path_(std::move(path)), database_(database) {}

absl::StatusOr<std::unique_ptr<Database>> Database::Open(const std::string& path, const std::string& named, int flags, const char* vfs) {
  sqlite3* raw = nullptr;
  const int code = sqlite3_open_v2(path.c_str(), &raw, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, vfs);
  auto database = std::unique_ptr<Database>(new Database(raw, named));
  if (code != SQLITE_OK) {
    return database->Error(code, "open");
  }
  sqlite3_busy_timeout(raw, 10'000);
  // A connection that is only looking must not move the log into the file, and nobody may write to the schema by hand.
  int ignored = 0;
  sqlite3_db_config(raw, SQLITE_DBCONFIG_DEFENSIVE, 1, &ignored);
  sqlite3_db_config(raw, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, &ignored);
  sqlite3_db_config(raw, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, (flags & SQLITE_OPEN_READONLY) != 0 ? 1 : 0, &ignored);
  return database;
}

absl::Status Database::Error(int code, absl::string_view doing) const {
  const int last_error = errno;
  const std::string detail = database_ == nullptr ? sqlite3_errstr(code) : sqlite3_errmsg(database_.get());
  switch (code & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return DamagedJournal(path_, detail);
    case SQLITE_ERROR:
      // The one damage of a header that has no code of its own.
      if (detail == "unsupported file format") {
        return DamagedJournal(path_, detail);
      }
      break;
    case SQLITE_FULL:
      return StorageError(doing, path_, ENOSPC);
    case SQLITE_TOOBIG:
      return absl::InvalidArgumentError(absl::StrCat("cannot ", doing, " ", path_, ": longer than the journal can hold (1 GB)"));
    default:
      break;
  }
  if (code == SQLITE_IOERR_SHMSIZE) {
    // The index of the write-ahead log cannot grow.
    return StorageError(doing, path_, ENOSPC);
  }
  int error = database_ == nullptr ? 0 : sqlite3_system_errno(database_.get());
  if (error == 0 && (code & 0xff) == SQLITE_IOERR) {
    // Not every path in SQLite keeps it.
    error = last_error;
  }
  if ((code & 0xff) == SQLITE_NOMEM) {
    error = ENOMEM;
  }
  if (error == ENOSPC || error == EDQUOT || error == EFBIG || error == EMFILE || error == ENFILE || error == ENOMEM) {
    return StorageError(doing, path_, error);
  }
  return WithExitCode(absl::InternalError(absl::StrCat("cannot ", doing, " ", path_, ": ", detail, " (SQLite ", code,
                                                       error == 0 ? "" : absl::StrCat(", ", std::strerror(error)), ")")),
                      ExitCode::kStorage);
}

absl::Status Database::Execute(const std::string& sql) {
  const int code = sqlite3_exec(database_.get(), sql.c_str(), nullptr, nullptr, nullptr);
  return code == SQLITE_OK ? absl::OkStatus() : Error(code, "write");
}

absl::Status Database::CopyTo(const std::string& path, const std::function<absl::Status(uint64_t, uint64_t)>& progress) {
  constexpr int kPagesAtOnce = 2048;
  if (std::error_code error; std::filesystem::exists(path, error)) {
    return StorageError("write", path, EEXIST);
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const int64_t page_bytes, ReadPragma(*this, "PRAGMA page_size"));
  TRIBUTARY_ASSIGN_OR_RETURN(const std::unique_ptr<Database> copy, Open(path, path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE));
  // It is made anew if this is interrupted.
  TRIBUTARY_RETURN_IF_ERROR(copy->Execute("PRAGMA journal_mode = MEMORY"));
  TRIBUTARY_RETURN_IF_ERROR(copy->Execute("PRAGMA synchronous = OFF"));
  const auto finish = [](sqlite3_backup* backup) { sqlite3_backup_finish(backup); };
  std::unique_ptr<sqlite3_backup, decltype(finish)> backup(sqlite3_backup_init(copy->database_.get(), "main", database_.get(), "main"),
                                                           finish);
  if (backup == nullptr) {
    return copy->Error(sqlite3_extended_errcode(copy->database_.get()), "write");
  }
  while (true) {
    const int code = sqlite3_backup_step(backup.get(), kPagesAtOnce);
    if (code != SQLITE_OK && code != SQLITE_DONE) {
      // Of which of the two files it is, SQLite does not say; full is only the one that is written.
      return (code & 0xff) == SQLITE_CORRUPT || (code & 0xff) == SQLITE_NOTADB ? Error(code, "read") : copy->Error(code, "write");
    }
    const uint64_t total = static_cast<uint64_t>(sqlite3_backup_pagecount(backup.get()));
    const uint64_t left = static_cast<uint64_t>(sqlite3_backup_remaining(backup.get()));
    TRIBUTARY_RETURN_IF_ERROR(progress((total - left) * page_bytes, total * page_bytes));
    if (code == SQLITE_DONE) {
      return absl::OkStatus();
    }
  }
}

absl::StatusOr<Database::Statement> Database::Prepare(absl::string_view sql, unsigned flags) {
  sqlite3_stmt* statement = nullptr;
  const int code = sqlite3_prepare_v3(database_.get(), sql.data(), static_cast<int>(sql.size()), flags, &statement, nullptr);
  if (code != SQLITE_OK) {
    return Error(code, "read");
  }
  return Statement(statement);
}

absl::StatusOr<sqlite3_stmt*> Database::Cached(absl::string_view sql) {
  auto cached = cache_.find(sql);
  if (cached == cache_.end()) {
    TRIBUTARY_ASSIGN_OR_RETURN(Statement statement, Prepare(sql, SQLITE_PREPARE_PERSISTENT));
    cached = cache_.emplace(sql, std::move(statement)).first;
  }
  return cached->second.get();
}

}  // namespace tributary::coordinator
