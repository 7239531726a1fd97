// Opening a journal: one coordinator at a time, whole or not at all, and checked before anything is written.
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/exit_codes.h"
#include "common/status_macros.h"
#include "coordinator/journal/journal_rows.h"
#include "coordinator/journal/sqlite_journal.h"

namespace tributary::coordinator {

namespace {

// Frozen: they identify the file. "TRIB".
constexpr int64_t kApplicationId = 0x54524942;
constexpr int64_t kFormatVersion = 2;

// SQLite's own check reads the whole file, and so does the check of the chain: above this size a start would take too long, and rows are
// checked as they are read instead.
constexpr int64_t kFullCheckBytes = int64_t{256} << 20;

// Frozen with kFormatVersion. `record` stands last so that reading the rest of a commit does not walk through it.
constexpr const char* kSchema[] = {
    "CREATE TABLE runs(number INTEGER PRIMARY KEY, run_id TEXT NOT NULL UNIQUE, spec BLOB NOT NULL, state INTEGER NOT NULL, "
    "reason TEXT NOT NULL, submitted_unix_ms INTEGER NOT NULL, finished_unix_ms INTEGER NOT NULL, crc INTEGER NOT NULL) STRICT",
    "CREATE TABLE open_rounds(run INTEGER PRIMARY KEY REFERENCES runs(number), round INTEGER NOT NULL, members TEXT NOT NULL, "
    "crc INTEGER NOT NULL) STRICT",
    "CREATE TABLE updates(number INTEGER PRIMARY KEY, run INTEGER NOT NULL REFERENCES runs(number), round INTEGER NOT NULL, "
    "site TEXT NOT NULL, report BLOB NOT NULL, crc INTEGER NOT NULL, payload BLOB NOT NULL, UNIQUE(run, round, site)) STRICT",
    "CREATE TABLE commits(run INTEGER NOT NULL REFERENCES runs(number), round INTEGER NOT NULL, chain_hash BLOB NOT NULL, "
    "state_hash BLOB NOT NULL, round_record BLOB NOT NULL, included TEXT NOT NULL, crc INTEGER NOT NULL, record_crc INTEGER NOT NULL, "
    "record BLOB NOT NULL, PRIMARY KEY(run, round)) STRICT",
    "CREATE TABLE site_totals(run INTEGER PRIMARY KEY REFERENCES runs(number), sites BLOB NOT NULL, crc INTEGER NOT NULL) STRICT",
    "CREATE TABLE validation_losses(run INTEGER NOT NULL REFERENCES runs(number), round INTEGER NOT NULL, loss REAL NOT NULL, "
    "crc INTEGER NOT NULL, PRIMARY KEY(run, round)) STRICT",
    "CREATE TABLE snapshots(run INTEGER NOT NULL REFERENCES runs(number), round INTEGER NOT NULL, file TEXT NOT NULL, "
    "state_hash BLOB NOT NULL, aggregator_file TEXT NOT NULL, aggregator_hash BLOB NOT NULL, crc INTEGER NOT NULL, "
    "PRIMARY KEY(run, round)) STRICT",
    "CREATE TABLE arrivals(run INTEGER PRIMARY KEY REFERENCES runs(number), plain BLOB NOT NULL, evaluating BLOB NOT NULL, "
    "crc INTEGER NOT NULL) STRICT",
    "CREATE TABLE events(number INTEGER PRIMARY KEY, run INTEGER NOT NULL REFERENCES runs(number), unix_ms INTEGER NOT NULL, "
    "site TEXT NOT NULL, kind TEXT NOT NULL, round INTEGER NOT NULL, detail TEXT NOT NULL, crc INTEGER NOT NULL) STRICT",
    "CREATE TABLE evidence(number INTEGER PRIMARY KEY, run INTEGER NOT NULL REFERENCES runs(number), unix_ms INTEGER NOT NULL, "
    "site TEXT NOT NULL, round INTEGER NOT NULL, reported_hash BLOB NOT NULL, log_hash BLOB NOT NULL, software_version TEXT NOT NULL, "
    "crc INTEGER NOT NULL) STRICT",
};

absl::StatusOr<int64_t> ReadPragma(Database& database, const char* sql) {
  Query row(database, sql);
  TRIBUTARY_RETURN_IF_ERROR(row.Run());
  return row.GetInt(0);
}

// Makes an empty journal under another name first, so that a file at `path` is always a whole journal: an empty file is damage, not youth.
absl::Status CreateJournal(const std::string& path, JournalDisk& disk) {
  const std::string fresh = path + ".new";
  for (const char* const suffix : {"", "-wal", "-shm", "-journal"}) {
    TRIBUTARY_RETURN_IF_ERROR(disk.Remove(absl::StrCat(fresh, suffix)));
  }
  {
    TRIBUTARY_ASSIGN_OR_RETURN(const std::unique_ptr<Database> database,
                               Database::Open(fresh, path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, disk.vfs()));
    TRIBUTARY_RETURN_IF_ERROR(database->Execute("PRAGMA journal_mode = WAL"));
    TRIBUTARY_RETURN_IF_ERROR(database->Execute("BEGIN IMMEDIATE"));
    for (const char* const table : kSchema) {
      TRIBUTARY_RETURN_IF_ERROR(database->Execute(table));
    }
    TRIBUTARY_RETURN_IF_ERROR(database->Execute(absl::StrCat("PRAGMA application_id = ", kApplicationId)));
    TRIBUTARY_RETURN_IF_ERROR(database->Execute(absl::StrCat("PRAGMA user_version = ", kFormatVersion)));
    TRIBUTARY_RETURN_IF_ERROR(database->Execute("COMMIT"));
    // All of it into the one file that is renamed.
    TRIBUTARY_RETURN_IF_ERROR(database->Execute("PRAGMA wal_checkpoint(TRUNCATE)"));
  }
  return disk.Rename(fresh, path);
}

// A journal without a write-ahead log is opened as a file that cannot change, so that SQLite makes no files beside it.
absl::StatusOr<std::unique_ptr<Database>> OpenToLook(const std::string& path) {
  for (const char* const log : {"-wal", "-journal"}) {
    TRIBUTARY_ASSIGN_OR_RETURN(const std::optional<int64_t> log_size, JournalDisk::Real().Size(path + log));
    if (log_size.value_or(0) > 0) {
      return Database::Open(path, path, SQLITE_OPEN_READONLY);
    }
  }
  std::string uri = absl::StartsWith(path, "/") ? "file://" : "file:";
  for (const char c : path) {
    if (absl::ascii_isalnum(static_cast<unsigned char>(c)) || absl::StrContains("/._-", c)) {
      uri.push_back(c);
    } else {
      absl::StrAppendFormat(&uri, "%%%02X", static_cast<unsigned char>(c));
    }
  }
  return Database::Open(uri + "?immutable=1", path, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI);
}

absl::StatusOr<std::shared_ptr<const void>> LockExisting(const std::string& path) {
  TRIBUTARY_ASSIGN_OR_RETURN(const std::optional<int64_t> size, JournalDisk::Real().Size(path));
  if (!size.has_value()) {
    return absl::NotFoundError(absl::StrCat("there is no journal ", path, "; name the coordinator's data_dir"));
  }
  return JournalDisk::Real().Lock(path);
}

// A journal that was looked at, by the owner of the lock.
absl::StatusOr<std::unique_ptr<Journal>> OpenToWrite(const std::string& path, std::shared_ptr<const void> lock,
                                                     std::function<void(double)> fsync_observer, JournalDisk& disk) {
  TRIBUTARY_ASSIGN_OR_RETURN(std::unique_ptr<Database> database, Database::Open(path, path, SQLITE_OPEN_READWRITE, disk.vfs()));
  for (const char* const pragma : {"PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", "PRAGMA foreign_keys = ON",
                                   "PRAGMA cell_size_check = ON", "PRAGMA journal_size_limit = 67108864"}) {
    TRIBUTARY_RETURN_IF_ERROR(database->Execute(pragma));
  }
  // What a killed process wrote and had not synced reads as well as the rest, as long as the machine has power. Nobody may be told of it
  // before it is durable.
  TRIBUTARY_RETURN_IF_ERROR(database->Execute("PRAGMA wal_checkpoint(PASSIVE)"));
  auto journal = std::make_unique<SqliteJournal>(std::move(database), std::move(lock), std::move(fsync_observer));
  TRIBUTARY_RETURN_IF_ERROR(journal->Load());
  return journal;
}

}  // namespace

absl::Status SqliteJournal::CheckFormat() {
  TRIBUTARY_ASSIGN_OR_RETURN(const int64_t application_id, ReadPragma(*database_, "PRAGMA application_id"));
  if (application_id != kApplicationId) {
    return DamagedRow("it is not a journal of Tributary");
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const int64_t version, ReadPragma(*database_, "PRAGMA user_version"));
  if (version > kFormatVersion) {
    return WithExitCode(absl::DataLossError(absl::StrCat("journal ", database_->path(), " has format ", version,
                                                         ", which a newer version of Tributary wrote; this one (", TRIBUTARY_VERSION,
                                                         ") reads up to format ", kFormatVersion,
                                                         ". It was left as it is. Start that newer version, or restore the backup made "
                                                         "before the upgrade")),
                        ExitCode::kDamaged);
  }
  if (version >= 1 && version < kFormatVersion) {
    return WithExitCode(
        absl::DataLossError(absl::StrCat("journal ", database_->path(), " has format ", version,
                                         ", which an unreleased version of Tributary wrote; this one (", TRIBUTARY_VERSION,
                                         ") reads format ", kFormatVersion,
                                         " alone. It was left as it is. Finish its runs with that version, or begin with an "
                                         "empty folder")),
        ExitCode::kDamaged);
  }
  if (version != kFormatVersion) {
    return DamagedRow(absl::StrCat("it says format ", version, ", which never was"));
  }
  Query rows(*database_, "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid");
  for (const char* const table : kSchema) {
    TRIBUTARY_ASSIGN_OR_RETURN(const bool more, rows.Step());
    if (!more || rows.GetBytes(0) != table) {
      return DamagedRow("its tables are not those of a journal");
    }
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const bool more, rows.Step());
  return more ? DamagedRow("it has a table too many") : absl::OkStatus();
}

absl::Status SqliteJournal::Load() {
  Query rows(*database_, "SELECT run_id, number FROM runs");
  while (true) {
    TRIBUTARY_ASSIGN_OR_RETURN(const bool more, rows.Step());
    if (!more) {
      return absl::OkStatus();
    }
    numbers_.emplace(rows.GetBytes(0), rows.GetInt(1));
  }
}

absl::Status SqliteJournal::Verify(JournalDisk& disk) {
  TRIBUTARY_ASSIGN_OR_RETURN(const std::optional<int64_t> size, disk.Size(database_->path()));
  const bool whole_file = size.value_or(0) <= kFullCheckBytes;
  TRIBUTARY_RETURN_IF_ERROR(whole_file ? CheckIntegrity() : CheckReferences());
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<JournaledRun> runs, Runs());
  for (const JournaledRun& run : runs) {
    if (whole_file || !IsOver(run.state)) {
      TRIBUTARY_RETURN_IF_ERROR(VerifyRun(run, /*whole=*/false));
    }
  }
  return absl::OkStatus();
}

absl::Status SqliteJournal::CheckIntegrity() {
  // More than quick_check: it also compares the indexes, through which rows are found, with the tables.
  Query check(*database_, "PRAGMA integrity_check(1)");
  TRIBUTARY_ASSIGN_OR_RETURN(const bool found, check.Step());
  if (!found || check.GetBytes(0) != "ok") {
    return DamagedRow(found ? check.GetBytes(0) : "SQLite cannot check it");
  }
  return CheckReferences();
}

absl::Status SqliteJournal::CheckReferences() {
  // A row whose run is not there would never be read, and so never fail its checksum: it would be missing without a word.
  Query check(*database_, "PRAGMA foreign_key_check");
  TRIBUTARY_ASSIGN_OR_RETURN(const bool found, check.Step());
  return found ? DamagedRow(absl::StrCat("a row of ", check.GetBytes(0), " is of a run that is not there")) : absl::OkStatus();
}

absl::Status SqliteJournal::CheckRun(const JournaledRun& run) {
  return VerifyRun(run, /*whole=*/true);
}

absl::Status SqliteJournal::VerifyRun(const JournaledRun& run, bool whole) {
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<CommitSummary> summaries, CommitSummaries(run.run_id));
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<JournaledSnapshot> snapshots, Snapshots(run.run_id));
  TRIBUTARY_RETURN_IF_ERROR(OpenRound(run.run_id).status());
  TRIBUTARY_RETURN_IF_ERROR(SiteTotals(run.run_id).status());
  TRIBUTARY_RETURN_IF_ERROR(ValidationLosses(run.run_id).status());
  TRIBUTARY_RETURN_IF_ERROR(LatestArrivals(run.run_id).status());
  TRIBUTARY_RETURN_IF_ERROR(Events(run.run_id).status());
  TRIBUTARY_RETURN_IF_ERROR(Evidence(run.run_id).status());
  uint64_t bytes = 0;
  for (size_t i = 0; i < summaries.size(); ++i) {
    if (summaries[i].round != i + 1) {
      return DamagedRow(absl::StrCat("run ", run.run_id, " has no commit of round ", i + 1));
    }
    bytes += summaries[i].record_bytes;
  }
  const uint64_t last = summaries.size();
  // What is older than the newest snapshot is not replayed by a start, and is checked when it is read.
  const bool all_commits = whole || bytes <= static_cast<uint64_t>(kFullCheckBytes) || snapshots.empty();
  const uint64_t first = all_commits ? 1 : snapshots.back().round + 1;
  for (uint64_t round = 1; whole && round <= last + 1; ++round) {
    TRIBUTARY_RETURN_IF_ERROR(VisitUpdates(run.run_id, round, [](const JournaledUpdate&) { return absl::OkStatus(); }));
  }
  return VisitCommits(run.run_id, first, last, [](uint64_t, const JournaledCommit&) { return absl::OkStatus(); });
}

absl::StatusOr<std::unique_ptr<Journal>> OpenSqliteJournal(const std::string& path, std::function<void(double)> fsync_observer,
                                                           JournalDisk& disk) {
  TRIBUTARY_ASSIGN_OR_RETURN(std::shared_ptr<const void> lock, disk.Lock(path));
  TRIBUTARY_ASSIGN_OR_RETURN(const std::optional<int64_t> size, disk.Size(path));
  if (!size.has_value()) {
    TRIBUTARY_ASSIGN_OR_RETURN(const std::optional<int64_t> log_size, disk.Size(path + "-wal"));
    if (log_size.has_value()) {
      return DamagedJournal(path, "the file is gone, but its write-ahead log is still there");
    }
    TRIBUTARY_RETURN_IF_ERROR(CreateJournal(path, disk));
  } else if (*size == 0) {
    return DamagedJournal(path, "it is empty");
  }
  {
    // Looks before it opens for writing: a damaged file stays as it is.
    TRIBUTARY_ASSIGN_OR_RETURN(std::unique_ptr<Database> database, Database::Open(path, path, SQLITE_OPEN_READONLY, disk.vfs()));
    SqliteJournal reader(std::move(database), nullptr, nullptr);
    TRIBUTARY_RETURN_IF_ERROR(reader.CheckFormat());
    TRIBUTARY_RETURN_IF_ERROR(reader.Load());
    TRIBUTARY_RETURN_IF_ERROR(reader.Verify(disk));
  }
  return OpenToWrite(path, std::move(lock), std::move(fsync_observer), disk);
}

absl::StatusOr<std::unique_ptr<Journal>> InspectSqliteJournal(const std::string& path) {
  TRIBUTARY_ASSIGN_OR_RETURN(std::shared_ptr<const void> lock, LockExisting(path));
  TRIBUTARY_ASSIGN_OR_RETURN(std::unique_ptr<Database> database, OpenToLook(path));
  auto journal = std::make_unique<SqliteJournal>(std::move(database), std::move(lock), nullptr);
  TRIBUTARY_RETURN_IF_ERROR(journal->CheckFormat());
  TRIBUTARY_RETURN_IF_ERROR(journal->Load());
  return journal;
}

absl::StatusOr<std::unique_ptr<Journal>> RepairSqliteJournal(const std::string& path) {
  TRIBUTARY_ASSIGN_OR_RETURN(std::shared_ptr<const void> lock, LockExisting(path));
  {
    TRIBUTARY_ASSIGN_OR_RETURN(std::unique_ptr<Database> database, OpenToLook(path));
    SqliteJournal reader(std::move(database), nullptr, nullptr);
    TRIBUTARY_RETURN_IF_ERROR(reader.CheckFormat());
    TRIBUTARY_RETURN_IF_ERROR(reader.CheckIntegrity());
  }
  return OpenToWrite(path, std::move(lock), nullptr, JournalDisk::Real());
}

}  // namespace tributary::coordinator
