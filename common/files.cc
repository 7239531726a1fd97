#include "common/files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <ostream>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/exit_codes.h"
#include "common/status_macros.h"

namespace tributary {
namespace {

// Part of every temporary name, so that RemoveTemporaryFiles knows them.
constexpr char kTemporaryMark[] = ".tmp-";

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  ~FileDescriptor() {
    if (fd_ >= 0) {
      close(fd_);
    }
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  int get() const { return fd_; }
  // Errors of network file systems may show only here.
  int Close() { return close(std::exchange(fd_, -1)); }

 private:
  int fd_;
};

int OpenRetrying(const char* path, int flags, unsigned mode = 0) {
  int fd;
  do {
    fd = open(path, flags | O_CLOEXEC, mode);
  } while (fd < 0 && errno == EINTR);
  return fd;
}

// Writeback begins after so many bytes, so that what is left to wait for at the end is little.
constexpr uint64_t kWritebackBytes = 8 << 20;

absl::Status WriteAll(int file, const std::string& path, absl::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(file, bytes.data(), bytes.size());
    if (written < 0) {
      if (errno == EINTR) {
        continue;
      }
      return StorageError("write", path, errno);
    }
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

// What the links at `path` lead to in the end, whether it exists or not.
absl::StatusOr<std::string> FollowLinks(const std::string& path) {
  constexpr int kLongestChain = 40;  // as the kernel's
  std::filesystem::path at = path;
  for (int links = 0; links < kLongestChain; ++links) {
    std::error_code no_link;
    const std::filesystem::path next = std::filesystem::read_symlink(at, no_link);
    if (no_link) {
      return at.string();
    }
    at = at.parent_path() / next;  // an absolute one replaces it
  }
  return StorageError("write", path, ELOOP);
}

}  // namespace

absl::Status StorageError(absl::string_view doing, absl::string_view path, int error) {
  absl::StatusCode code = absl::StatusCode::kInternal;
  absl::string_view advice;
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      code = absl::StatusCode::kNotFound;
      advice = "; check the path";
      break;
    case EACCES:
    case EPERM:
    case EROFS:
      code = absl::StatusCode::kPermissionDenied;
      advice = "; check the owner and the permissions";
      break;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      code = absl::StatusCode::kResourceExhausted;
      advice = "; free some space (or raise the limit) and try again";
      break;
    case EMFILE:
    case ENFILE:
      code = absl::StatusCode::kUnavailable;
      advice = "; nothing is wrong with the disk: raise the limit of open files (LimitNOFILE=, ulimit -n), or the system's (fs.file-max)";
      break;
    case ENOMEM:
      code = absl::StatusCode::kUnavailable;
      advice = "; nothing is wrong with the disk: give the process, or the machine, more memory";
      break;
    default:
      break;
  }
  return WithExitCode(absl::Status(code, absl::StrCat("cannot ", doing, " ", path, ": ", std::strerror(error), advice)),
                      ExitCode::kStorage);
}

std::string FolderOf(const std::string& path) {
  const std::string parent = std::filesystem::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

absl::Status SyncPath(const std::string& path) {
  const FileDescriptor fd(OpenRetrying(path.c_str(), O_RDONLY));
  if (fd.get() < 0 || fsync(fd.get()) != 0) {
    return StorageError("make durable", path, errno);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadFile(const std::string& path, uint64_t max_bytes) {
  const FileDescriptor file(OpenRetrying(path.c_str(), O_RDONLY));
  if (file.get() < 0) {
    return StorageError("read", path, errno);
  }
  struct stat info;
  if (fstat(file.get(), &info) != 0) {
    return StorageError("read", path, errno);
  }
  if (S_ISDIR(info.st_mode)) {
    return StorageError("read", path, EISDIR);
  }
  const auto too_long = [&] {
    return WithExitCode(absl::ResourceExhaustedError(absl::StrCat(path, " is longer than ", max_bytes,
                                                                  " bytes, the most that is read here; check that it is the right file")),
                        ExitCode::kStorage);
  };
  if (S_ISREG(info.st_mode) && static_cast<uint64_t>(info.st_size) > max_bytes) {
    return too_long();
  }

  std::string bytes;
  bytes.reserve(static_cast<size_t>(S_ISREG(info.st_mode) ? info.st_size : 0));
  constexpr size_t kPiece = 256 * 1024;
  while (true) {
    // One byte beyond the bound is asked for, so that a file that grows meanwhile is noticed.
    const size_t old_size = bytes.size();
    const size_t wanted = static_cast<size_t>(std::min<uint64_t>(kPiece, max_bytes - old_size) + 1);
    bytes.resize(old_size + wanted);
    const ssize_t got = read(file.get(), bytes.data() + old_size, wanted);
    const int error = errno;
    bytes.resize(old_size + static_cast<size_t>(std::max<ssize_t>(got, 0)));
    if (got < 0) {
      if (error == EINTR) {
        continue;
      }
      return StorageError("read", path, error);
    }
    if (got == 0) {
      return bytes;
    }
    if (bytes.size() > max_bytes) {
      return too_long();
    }
  }
}

absl::StatusOr<std::unique_ptr<AtomicFile>> AtomicFile::Create(std::string path, unsigned mode) {
  static std::atomic<uint64_t> counter{0};
  std::string temporary;
  int fd = -1;
  do {
    temporary = absl::StrCat(path, kTemporaryMark, getpid(), "-", counter.fetch_add(1));
    fd = OpenRetrying(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL, mode);
  } while (fd < 0 && errno == EEXIST);
  if (fd < 0) {
    return StorageError("write", path, errno);
  }
  return std::unique_ptr<AtomicFile>(new AtomicFile(std::move(path), std::move(temporary), fd));
}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) {
    close(fd_);
  }
  if (!finished_) {
    unlink(temporary_.c_str());
  }
}

absl::Status AtomicFile::Append(absl::string_view bytes) {
  TRIBUTARY_RETURN_IF_ERROR(WriteAll(fd_, path_, bytes));
  size_ += bytes.size();
  if (size_ - on_its_way_ >= kWritebackBytes) {
    // A hint: Finish waits for the bytes, and says whether they came.
    static_cast<void>(
        sync_file_range(fd_, static_cast<off_t>(on_its_way_), static_cast<off_t>(size_ - on_its_way_), SYNC_FILE_RANGE_WRITE));
    on_its_way_ = size_;
  }
  return absl::OkStatus();
}

absl::Status AtomicFile::Finish() {
  // Errors of network file systems may show only in close.
  if (fsync(fd_) != 0 || close(std::exchange(fd_, -1)) != 0 || rename(temporary_.c_str(), path_.c_str()) != 0) {
    return StorageError("write", path_, errno);
  }
  finished_ = true;
  return SyncPath(FolderOf(path_));
}

absl::Status WriteFileAtomically(const std::string& path, absl::string_view bytes, unsigned mode) {
  TRIBUTARY_ASSIGN_OR_RETURN(const std::unique_ptr<AtomicFile> file, AtomicFile::Create(path, mode));
  TRIBUTARY_RETURN_IF_ERROR(file->Append(bytes));
  return file->Finish();
}

absl::Status ReadFilePart(const std::string& path, uint64_t offset, uint64_t length, char* out) {
  const FileDescriptor file(OpenRetrying(path.c_str(), O_RDONLY));
  return file.get() < 0 ? StorageError("read", path, errno) : ReadFilePart(file.get(), path, offset, length, out);
}

absl::Status ReadFilePart(int descriptor, const std::string& path, uint64_t offset, uint64_t length, char* out) {
  for (uint64_t done = 0; done < length;) {
    const ssize_t got = pread(descriptor, out + done, length - done, static_cast<off_t>(offset + done));
    if (got < 0) {
      if (errno == EINTR) {
        continue;
      }
      return StorageError("read", path, errno);
    }
    if (got == 0) {
      return WithExitCode(absl::DataLossError(absl::StrCat(path, " ends at byte ", offset + done, ", before what was written to it")),
                          ExitCode::kDamaged);
    }
    done += static_cast<uint64_t>(got);
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> FileSize(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) {
    return StorageError("read", path, errno);
  }
  if (!S_ISREG(info.st_mode)) {
    return WithExitCode(absl::InternalError(absl::StrCat("cannot read ", path, ": it is no regular file")), ExitCode::kStorage);
  }
  return static_cast<uint64_t>(info.st_size);
}

absl::Status AppendToFile(const std::string& path, absl::string_view bytes, unsigned mode) {
  const bool is_new = access(path.c_str(), F_OK) != 0;
  FileDescriptor file(OpenRetrying(path.c_str(), O_WRONLY | O_CREAT | O_APPEND, mode));
  const off_t end = file.get() < 0 ? -1 : lseek(file.get(), 0, SEEK_END);
  if (end < 0) {
    return StorageError("write", path, errno);
  }
  absl::Status status = WriteAll(file.get(), path, bytes);
  if (status.ok() && (fsync(file.get()) != 0 || file.Close() != 0)) {
    status = StorageError("write", path, errno);
  }
  if (!status.ok()) {
    if (truncate(path.c_str(), end) != 0) {
      status = Annotate(std::move(status), "part of it may be left in the file");
    }
    return status;
  }
  return is_new ? SyncPath(FolderOf(path)) : absl::OkStatus();
}

bool IsStandardOutput(absl::string_view path) {
  return path == "-" || path == "/dev/stdout";
}

absl::Status WriteOutput(const std::string& path, absl::string_view bytes, std::ostream& standard_output) {
  if (IsStandardOutput(path)) {
    standard_output.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    return absl::OkStatus();
  }
  struct stat info = {};
  const bool is_there = stat(path.c_str(), &info) == 0;
  if (!is_there || S_ISREG(info.st_mode)) {
    TRIBUTARY_ASSIGN_OR_RETURN(const std::string target, FollowLinks(path));
    return WriteFileAtomically(target, bytes, is_there ? info.st_mode & 07777 : 0644);
  }
  if (!S_ISFIFO(info.st_mode) && !S_ISCHR(info.st_mode)) {
    return WithExitCode(absl::InvalidArgumentError(absl::StrCat("cannot write ", path, ": it is a ",
                                                                S_ISDIR(info.st_mode)   ? "folder"
                                                                : S_ISBLK(info.st_mode) ? "block device"
                                                                                        : "socket",
                                                                "; name a file, a pipe, or - for standard output")),
                        ExitCode::kUsage);
  }
  FileDescriptor file(OpenRetrying(path.c_str(), O_WRONLY));
  if (file.get() < 0) {
    return StorageError("write", path, errno);
  }
  TRIBUTARY_RETURN_IF_ERROR(WriteAll(file.get(), path, bytes));
  return file.Close() == 0 ? absl::OkStatus() : StorageError("write", path, errno);
}

absl::Status RemoveTemporaryFiles(const std::string& directory) {
  std::error_code error;
  for (std::filesystem::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    if (!absl::StrContains(it->path().filename().string(), kTemporaryMark)) {
      continue;
    }
    std::error_code remove_error;
    if (it->is_regular_file(remove_error)) {
      std::filesystem::remove(it->path(), remove_error);
    }
    if (remove_error) {
      return StorageError("remove", it->path().string(), remove_error.value());
    }
  }
  if (error && error.value() != ENOENT) {
    return StorageError("list", directory, error.value());
  }
  return absl::OkStatus();
}

absl::Status MakeDirectories(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) {
    return StorageError("create the folder", path, error.value());
  }
  if (!std::filesystem::is_directory(path, error)) {
    return StorageError("create the folder", path, EEXIST);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<FolderLock>> FolderLock::Take(const std::string& directory) {
  const int fd = OpenRetrying(directory.c_str(), O_RDONLY | O_DIRECTORY);
  if (fd < 0) {
    return StorageError("lock the folder", directory, errno);
  }
  std::unique_ptr<FolderLock> lock(new FolderLock(fd));
  if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
    return lock;
  }
  if (errno != EWOULDBLOCK) {
    return StorageError("lock the folder", directory, errno);
  }
  return WithExitCode(absl::FailedPreconditionError(absl::StrCat("the folder ", directory, " is in use by another process")),
                      ExitCode::kStorage);
}

FolderLock::~FolderLock() {
  close(fd_);
}

absl::StatusOr<uint64_t> FreeBytes(const std::string& path) {
  struct statvfs info;
  if (statvfs(path.c_str(), &info) != 0) {
    return StorageError("get the free space of", path, errno);
  }
  return uint64_t{info.f_bavail} * info.f_frsize;
}

}  // namespace tributary
