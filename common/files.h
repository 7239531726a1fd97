// Files that are whole or not there: reads with a bound, writes that replace atomically; folders that have one owner.
#ifndef TRIBUTARY_COMMON_FILES_H_
#define TRIBUTARY_COMMON_FILES_H_

#include <cstdint>
#include <iosfwd>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tributary {

// What `error` (errno) means to the person who has to fix it: "cannot write /x/y: No space left on device; free some space ...". NotFound,
// PermissionDenied, ResourceExhausted (no space), Unavailable (no descriptors or memory), else Internal; exit code kStorage.
absl::Status StorageError(absl::string_view doing, absl::string_view path, int error);

// The folder that `path` is in.
std::string FolderOf(const std::string& path);

// Makes a file's bytes, or the entries of a folder, durable. Exit code kStorage.
absl::Status SyncPath(const std::string& path);

// The whole file. NotFound; PermissionDenied; ResourceExhausted: longer than `max_bytes`; all with the path and what to do, exit code
// kStorage unless the caller marks another.
absl::StatusOr<std::string> ReadFile(const std::string& path, uint64_t max_bytes);

// Writes a temporary file beside `path`, fsyncs it, renames it to `path`, fsyncs the folder: after a crash `path` holds the old bytes or
// the new ones. `mode` are the permission bits. ResourceExhausted: disk full (the temporary file is removed). Exit code kStorage.
absl::Status WriteFileAtomically(const std::string& path, absl::string_view bytes, unsigned mode = 0644);

// Adds `bytes` to the end of `path`, which is made if need be, and fsyncs it (the folder too if it was made): after a crash the file holds
// what it held, followed by none, some or all of `bytes`. After an error it is as before, if the disk lets that be done. As above
// otherwise.
absl::Status AppendToFile(const std::string& path, absl::string_view bytes, unsigned mode = 0644);

// Writes what a person asked for to the place that they named. `-` and /dev/stdout: `standard_output`, which the caller checks. A link is
// followed, and stays. A file is replaced as by WriteFileAtomically, with its permissions kept; what is no file but takes bytes (a pipe, a
// character device such as /dev/null) is written to. Block devices, sockets and folders are refused: InvalidArgument. Exit code kStorage
// otherwise.
absl::Status WriteOutput(const std::string& path, absl::string_view bytes, std::ostream& standard_output);

// Whether `path` means standard output to WriteOutput.
bool IsStandardOutput(absl::string_view path);

// The same in pieces: a temporary file that grows beside `path`, and takes its place when it is finished. Removed, unless finished. Not
// thread-safe, but may move between threads.
class AtomicFile {
 public:
  // Errors as WriteFileAtomically.
  static absl::StatusOr<std::unique_ptr<AtomicFile>> Create(std::string path, unsigned mode = 0644);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  // After an error the file can only be dropped.
  absl::Status Append(absl::string_view bytes);
  // Once. Durable when it returns OK.
  absl::Status Finish();

 private:
  AtomicFile(std::string path, std::string temporary, int fd) : path_(std::move(path)), temporary_(std::move(temporary)), fd_(fd) {}
  const std::string path_;
  const std::string temporary_;
  int fd_;  // -1: closed
  uint64_t size_ = 0;
  uint64_t on_its_way_ = 0;  // bytes that the kernel was asked to begin writing
  bool finished_ = false;
};

// Reads bytes [offset, offset + length) of a file into `out`. DataLoss, exit code kDamaged: it is shorter. NotFound and others as ReadFile.
absl::Status ReadFilePart(const std::string& path, uint64_t offset, uint64_t length, char* out);
// The same of a file that is open; `path` is for messages.
absl::Status ReadFilePart(int descriptor, const std::string& path, uint64_t offset, uint64_t length, char* out);
// Of a regular file. NotFound and others as ReadFile.
absl::StatusOr<uint64_t> FileSize(const std::string& path);

// Removes what interrupted writes left in `directory` (a crash between write and rename). For a folder's only owner, at
// its start: it would also remove the temporary file of a write in progress. OK if there is no such folder.
absl::Status RemoveTemporaryFiles(const std::string& directory);

// Makes the folder and its parents. OK if it exists.
absl::Status MakeDirectories(const std::string& path);

// An exclusive lock on a folder, against this and other processes, for as long as it lives. It leaves nothing behind, whatever ends the
// process.
class FolderLock {
 public:
  // FailedPrecondition: somebody else holds it. Exit code kStorage.
  static absl::StatusOr<std::unique_ptr<FolderLock>> Take(const std::string& directory);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  explicit FolderLock(int fd) : fd_(fd) {}
  const int fd_;
};

// Bytes free to this user on the file system of `path`.
absl::StatusOr<uint64_t> FreeBytes(const std::string& path);

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_FILES_H_
