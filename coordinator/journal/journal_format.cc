#include "coordinator/journal/journal_format.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "common/exit_codes.h"
#include "common/status_macros.h"
#include "coordinator/journal/schema.h"
#include "coordinator/journal/sqlite_database.h"
#include "coordinator/journal/table.h"

namespace tributary::coordinator {
namespace {

// Frozen: it identifies the file. "TRIB".
constexpr int64_t kApplicationId = 0x54524942;

// The tables' definitions, in their order.
std::vector<std::string> CreateTexts(Database& database, int64_t format) {
  std::vector<std::string> texts;
  VisitTables(format, [&](const auto& spec) {
    texts.push_back(Table(&database, spec, format).text().CreateText());
    return absl::OkStatus();
  }).IgnoreError();  // the visitor never fails
  return texts;
}

}  // namespace

absl::StatusOr<int64_t> CheckFormat(Database& database) {
  const auto damaged = [&database](absl::string_view what) { return DamagedJournal(database.path(), what); };
  TRIBUTARY_ASSIGN_OR_RETURN(const int64_t application_id, ReadPragma(database, "PRAGMA application_id"));
  if (application_id != kApplicationId) {
    return damaged("it is not a journal of Tributary");
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const int64_t version, ReadPragma(database, "PRAGMA user_version"));
  if (version > kNewestFormat) {
    return WithExitCode(absl::DataLossError(absl::StrCat("journal ", database.path(), " has format ", version,
                                                         ", which a newer version of Tributary wrote; this one (", TRIBUTARY_VERSION,
                                                         ") reads up to format ", kNewestFormat,
                                                         ". It was left as it is. Start that newer version, or restore the backup made "
                                                         "before the upgrade")),
                        ExitCode::kDamaged);
  }
  if (version >= 1 && version < kOldestFormat) {
    return WithExitCode(absl::DataLossError(absl::StrCat(
                            "journal ", database.path(), " has format ", version,
                            ", which an unreleased version of Tributary wrote; this one (", TRIBUTARY_VERSION, ") reads formats from ",
                            kOldestFormat, " on. It was left as it is. Finish its runs with that version, or begin with an empty folder")),
                        ExitCode::kDamaged);
  }
  if (version < kOldestFormat) {
    return damaged(absl::StrCat("it says format ", version, ", which never existed"));
  }
  Query rows(database, "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid");
  for (const std::string& table : CreateTexts(database, version)) {
    TRIBUTARY_ASSIGN_OR_RETURN(const bool more, rows.Step());
    if (!more || rows.GetBytes(0) != table) {
      return damaged("its tables are not those of a journal");
    }
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const bool more, rows.Step());
  if (more) {
    return damaged("it has an extra table");
  }
  return version;
}

absl::Status RemoveDatabase(const std::string& path, JournalDisk& disk) {
  for (const char* const suffix : {"", "-wal", "-shm", "-journal"}) {
    TRIBUTARY_RETURN_IF_ERROR(disk.Remove(absl::StrCat(path, suffix)));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Database>> CreateDatabase(const std::string& path, const std::string& named, int64_t format,
                                                         JournalDisk& disk) {
  TRIBUTARY_RETURN_IF_ERROR(RemoveDatabase(path, disk));
  TRIBUTARY_ASSIGN_OR_RETURN(std::unique_ptr<Database> database,
                             Database::Open(path, named, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, disk.vfs()));
  if (format >= kFormatWithPruning) {
    // Only an empty file can be made so.
    TRIBUTARY_RETURN_IF_ERROR(database->Execute("PRAGMA auto_vacuum = INCREMENTAL"));
  }
  TRIBUTARY_RETURN_IF_ERROR(database->Execute("PRAGMA journal_mode = WAL"));
  TRIBUTARY_RETURN_IF_ERROR(database->Execute("BEGIN IMMEDIATE"));
  for (const std::string& table : CreateTexts(*database, format)) {
    TRIBUTARY_RETURN_IF_ERROR(database->Execute(table));
  }
  TRIBUTARY_RETURN_IF_ERROR(database->Execute(absl::StrCat("PRAGMA application_id = ", kApplicationId)));
  TRIBUTARY_RETURN_IF_ERROR(database->Execute(absl::StrCat("PRAGMA user_version = ", format)));
  TRIBUTARY_RETURN_IF_ERROR(database->Execute("COMMIT"));
  return database;
}

absl::Status CreateJournal(const std::string& path, int64_t format, JournalDisk& disk) {
  const std::string fresh = path + ".new";
  {
    TRIBUTARY_ASSIGN_OR_RETURN(const std::unique_ptr<Database> database, CreateDatabase(fresh, path, format, disk));
    // All of it into the one file that is renamed.
    TRIBUTARY_RETURN_IF_ERROR(database->Execute("PRAGMA wal_checkpoint(TRUNCATE)"));
  }
  return disk.Rename(fresh, path);
}

}  // namespace tributary::coordinator
