// Opening a journal on the machine's own disk.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "common/exit_codes.h"
#include "common/status_macros.h"
#include "coordinator/journal.h"
#include "coordinator/sqlite_database.h"

namespace tributary::coordinator {
namespace {

// An exclusive lock on the data folder for as long as it lives: two coordinators over one journal would each believe in their own rounds.
class FolderLock {
 public:
  static absl::StatusOr<std::unique_ptr<FolderLock>> Take(const std::string& journal_path) {
    const std::string path = journal_path + ".lock";
    const int file = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (file < 0) {
      return StorageError("open", path, errno);
    }
    auto lock = std::unique_ptr<FolderLock>(new FolderLock(file));
    if (flock(file, LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK) {
        return StorageError("lock", path, errno);
      }
      return WithExitCode(absl::FailedPreconditionError(absl::StrCat("the folder ", FolderOf(journal_path),
                                                                     " is in use by a running coordinator; stop that one first, or name "
                                                                     "another data_dir")),
                          ExitCode::kStorage);
    }
    return lock;
  }
  ~FolderLock() { close(file_); }
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  explicit FolderLock(int file) : file_(file) {}
  const int file_;
};

absl::Status SyncPath(const std::string& path, int flags) {
  const int file = open(path.c_str(), flags | O_CLOEXEC);
  if (file < 0) {
    return StorageError("open", path, errno);
  }
  const int failed = fsync(file);
  const int error = errno;
  close(file);
  return failed == 0 ? absl::OkStatus() : StorageError("write", path, error);
}

class RealDisk final : public JournalDisk {
 public:
  const char* vfs() const override { return nullptr; }
  absl::StatusOr<std::shared_ptr<const void>> Lock(const std::string& journal_path) override {
    TRIBUTARY_ASSIGN_OR_RETURN(std::unique_ptr<FolderLock> lock, FolderLock::Take(journal_path));
    return lock;
  }
  absl::StatusOr<std::optional<int64_t>> Size(const std::string& path) override {
    struct stat file = {};
    if (stat(path.c_str(), &file) == 0) {
      return file.st_size;
    }
    if (errno == ENOENT) {
      return std::nullopt;
    }
    return StorageError("read", path, errno);
  }
  absl::Status Remove(const std::string& path) override {
    return unlink(path.c_str()) == 0 || errno == ENOENT ? absl::OkStatus() : StorageError("remove", path, errno);
  }
  absl::Status Rename(const std::string& from, const std::string& to) override {
    TRIBUTARY_RETURN_IF_ERROR(SyncPath(from, O_RDWR));
    if (rename(from.c_str(), to.c_str()) != 0) {
      return StorageError("create", to, errno);
    }
    return SyncPath(FolderOf(to), O_RDONLY | O_DIRECTORY);
  }
};

}  // namespace

JournalDisk& JournalDisk::Real() {
  static RealDisk& disk = *new RealDisk;
  return disk;
}

}  // namespace tributary::coordinator
