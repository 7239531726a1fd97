#include "coordinator/journal/journal_disk.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/exit_codes.h"
#include "common/files.h"
#include "common/status_macros.h"

namespace tributary::coordinator {
namespace {

class RealDisk final : public JournalDisk {
 public:
  const char* vfs() const override { return nullptr; }
  absl::StatusOr<std::shared_ptr<const void>> Lock(const std::string& journal_path) override {
    // Two coordinators over one journal would each believe in their own rounds.
    const std::string folder = FolderOf(journal_path);
    absl::StatusOr<std::unique_ptr<FolderLock>> lock = FolderLock::Take(folder);
    if (absl::IsFailedPrecondition(lock.status())) {
      return WithExitCode(absl::FailedPreconditionError(absl::StrCat(
                              "the folder ", folder, " is in use by a running coordinator; stop that one first, or name another data_dir")),
                          ExitCode::kStorage);
    }
    TRIBUTARY_RETURN_IF_ERROR(lock.status());
    return *std::move(lock);
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
    TRIBUTARY_RETURN_IF_ERROR(SyncPath(from));
    if (rename(from.c_str(), to.c_str()) != 0) {
      return StorageError("create", to, errno);
    }
    return SyncPath(FolderOf(to));
  }
};

}  // namespace

JournalDisk& JournalDisk::Real() {
  static RealDisk& disk = *new RealDisk;
  return disk;
}

}  // namespace tributary::coordinator
