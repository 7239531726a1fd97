// SQLite as far as the journal needs it: a connection with its prepared statements, a query, and errors that say what to do.
#ifndef TRIBUTARY_COORDINATOR_JOURNAL_SQLITE_DATABASE_H_
#define TRIBUTARY_COORDINATOR_JOURNAL_SQLITE_DATABASE_H_

#include <sqlite3.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tributary::coordinator {

// DataLoss, exit code kDamaged: names the journal at `path`, what is wrong with it, and what to do.
absl::Status DamagedJournal(const std::string& path, absl::string_view detail);

// One connection. Not thread-safe.
class Database {
 public:
  struct CloseStatement {
    void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
  };
  using Statement = std::unique_ptr<sqlite3_stmt, CloseStatement>;

  // `flags` as for sqlite3_open_v2; a read-only connection leaves the file as it is even when it is the last to close. Messages call the
  // file `named`.
  static absl::StatusOr<std::unique_ptr<Database>> Open(const std::string& path, const std::string& named, int flags,
                                                        const char* vfs = nullptr);

  // What SQLite's result code means for whoever runs the coordinator.
  absl::Status Error(int code, absl::string_view doing) const;

  absl::Status Execute(const std::string& sql);
  absl::StatusOr<Statement> Prepare(absl::string_view sql, unsigned flags = 0);
  // Prepared once and kept.
  absl::StatusOr<sqlite3_stmt*> Cached(absl::string_view sql);

  // Copies all that this connection sees, damage included, page by page to `path`, where no file may be; not synced yet. A transaction that
  // is open keeps what is seen the same over the whole copy, whatever others write. `progress`: of Journal::BackUp.
  absl::Status CopyTo(const std::string& path, const std::function<absl::Status(uint64_t done, uint64_t total)>& progress);

  const std::string& path() const { return path_; }
  bool InTransaction() const { return sqlite3_get_autocommit(database_.get()) == 0; }

 private:
  struct CloseDatabase {
    void operator()(sqlite3* database) const { sqlite3_close_v2(database); }
  };

  Database(sqlite3* database, std::string path);

  const std::string path_;
  std::unique_ptr<sqlite3, CloseDatabase> database_;
  std::map<std::string, Statement, std::less<>> cache_;  // after database_: finalised first
};

// One execution of a statement. What is bound must outlive it; what GetBytes() returns is valid until the next Step().
// An error of preparing or binding comes from Step().
class Query {
 public:
  Query(Database& database, absl::string_view sql) : database_(database) {
    absl::StatusOr<sqlite3_stmt*> statement = database.Cached(sql);
    status_ = statement.status();
    statement_ = statement.ok() ? *statement : nullptr;
  }
  // A statement of its own, for rows that are visited while other queries run.
  enum class Statement { kOwn };
  Query(Database& database, absl::string_view sql, Statement) : database_(database) {
    absl::StatusOr<Database::Statement> statement = database.Prepare(sql);
    status_ = statement.status();
    if (statement.ok()) {
      owned_ = *std::move(statement);
    }
    statement_ = owned_.get();
  }
  ~Query() {
    if (statement_ != nullptr) {
      sqlite3_reset(statement_);
      sqlite3_clear_bindings(statement_);
    }
  }
  Query(const Query&) = delete;
  Query& operator=(const Query&) = delete;

  Query& Int(int64_t value) {
    return Bound([&] { return sqlite3_bind_int64(statement_, ++bound_, value); });
  }
  Query& Unsigned(uint64_t value) { return Int(static_cast<int64_t>(value)); }
  Query& Real(double value) {
    return Bound([&] { return sqlite3_bind_double(statement_, ++bound_, value); });
  }
  Query& Null() {
    return Bound([&] { return sqlite3_bind_null(statement_, ++bound_); });
  }
  // A null pointer would bind NULL; an empty text or blob is not NULL.
  Query& Text(absl::string_view text) {
    return Bound([&] {
      return sqlite3_bind_text64(statement_, ++bound_, text.empty() ? "" : text.data(), text.size(), SQLITE_STATIC, SQLITE_UTF8);
    });
  }
  Query& Blob(absl::string_view bytes) {
    return Bound([&] { return sqlite3_bind_blob64(statement_, ++bound_, bytes.empty() ? "" : bytes.data(), bytes.size(), SQLITE_STATIC); });
  }

  // True: there is a row.
  absl::StatusOr<bool> Step() {
    if (!status_.ok()) {
      return status_;
    }
    const int code = sqlite3_step(statement_);
    if (code == SQLITE_ROW || code == SQLITE_DONE) {
      return code == SQLITE_ROW;
    }
    return database_.Error(code, sqlite3_stmt_readonly(statement_) != 0 ? "read" : "write");
  }
  absl::Status Run() { return Step().status(); }

  int64_t GetInt(int column) const { return sqlite3_column_int64(statement_, column); }
  uint64_t GetUnsigned(int column) const { return static_cast<uint64_t>(GetInt(column)); }
  double GetReal(int column) const { return sqlite3_column_double(statement_, column); }
  absl::string_view GetBytes(int column) const {
    const void* const data = sqlite3_column_blob(statement_, column);
    return {static_cast<const char*>(data), static_cast<size_t>(sqlite3_column_bytes(statement_, column))};
  }

 private:
  template <typename Bind>
  Query& Bound(Bind bind) {
    if (status_.ok()) {
      if (const int code = bind(); code != SQLITE_OK) {
        status_ = database_.Error(code, "write");
      }
    }
    return *this;
  }

  Database& database_;
  Database::Statement owned_;
  sqlite3_stmt* statement_ = nullptr;
  int bound_ = 0;
  absl::Status status_;
};

// The number that a pragma gives.
inline absl::StatusOr<int64_t> ReadPragma(Database& database, absl::string_view sql) {
  Query row(database, sql);
  const absl::StatusOr<bool> found = row.Step();
  return found.ok() ? absl::StatusOr<int64_t>(row.GetInt(0)) : found.status();
}

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_JOURNAL_SQLITE_DATABASE_H_
