// What opening a journal does to files besides SQLite's own work on them. Simulations give a disk of their own.
#ifndef TRIBUTARY_COORDINATOR_JOURNAL_JOURNAL_DISK_H_
#define TRIBUTARY_COORDINATOR_JOURNAL_JOURNAL_DISK_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace tributary::coordinator {

// Errors of all methods, unless said otherwise: as of StorageError (common/files.h), exit code kStorage.
class JournalDisk {
 public:
  virtual ~JournalDisk() = default;
  // Name of the SQLite VFS; null: SQLite's default.
  virtual const char* vfs() const = 0;
  // Held as long as what it returns lives. FailedPrecondition, exit code kStorage: another process holds it.
  virtual absl::StatusOr<std::shared_ptr<const void>> Lock(const std::string& journal_path) = 0;
  // Absent: no such file.
  virtual absl::StatusOr<std::optional<int64_t>> Size(const std::string& path) = 0;
  // OK if there is no such file.
  virtual absl::Status Remove(const std::string& path) = 0;
  // Durable, with all its bytes, when it returns OK.
  virtual absl::Status Rename(const std::string& from, const std::string& to) = 0;

  // The machine's; never destroyed.
  static JournalDisk& Real();
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_JOURNAL_JOURNAL_DISK_H_
