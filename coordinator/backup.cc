#include "coordinator/backup.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <functional>
#include <memory>
#include <system_error>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/checksum.h"
#include "common/exit_codes.h"
#include "common/files.h"
#include "common/format_bytes.h"
#include "common/status_macros.h"
#include "coordinator/folder_view.h"
#include "optim/snapshot.h"

namespace tributary::coordinator {
namespace {

namespace fs = std::filesystem;

constexpr size_t kPieceBytes = size_t{1} << 20;
// The journal while the rest is not there.
constexpr char kUnfinished[] = "journal.db.part";
// What must stay free on the disk, which a working coordinator may share.
constexpr uint64_t kSpareBytes = uint64_t{64} << 20;

struct NamedFile {
  // Where the digest is that it is checked against: at its end, in the journal, or nowhere but in the replay of the log.
  enum class Seal { kInFile, kInJournal, kInReplay };
  std::string name;
  Seal seal = Seal::kInFile;
  Digest digest{};
};

absl::StatusOr<std::vector<NamedFile>> FilesOf(Journal& journal) {
  std::vector<NamedFile> files;
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<JournaledRun> runs, journal.Runs());
  for (const JournaledRun& run : runs) {
    TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<JournaledSnapshot> snapshots, journal.Snapshots(run.run_id));
    for (const JournaledSnapshot& snapshot : snapshots) {
      files.push_back({snapshot.file});
      if (!snapshot.aggregator_file.empty()) {
        files.push_back({snapshot.aggregator_file, NamedFile::Seal::kInJournal, snapshot.aggregator_hash});
      }
    }
    TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<std::string> payloads, journal.PayloadFiles(run.run_id));
    for (const std::string& payload : payloads) {
      files.push_back({payload, NamedFile::Seal::kInReplay});
    }
  }
  return files;
}

absl::Status Damaged(absl::string_view path, absl::string_view how) {
  return WithExitCode(absl::DataLossError(absl::StrCat(path, " ", how)), ExitCode::kDamaged);
}

// Reads the file from its beginning in pieces.
template <typename Take>
absl::Status ReadPieces(int descriptor, const std::string& path, Take take) {
  std::string piece(kPieceBytes, '\0');
  for (off_t offset = 0;;) {
    const ssize_t n = pread(descriptor, piece.data(), piece.size(), offset);
    if (n < 0) {
      return StorageError("read", path, errno);
    }
    if (n == 0) {
      return absl::OkStatus();
    }
    offset += n;
    TRIBUTARY_RETURN_IF_ERROR(take(absl::string_view(piece).substr(0, n)));
  }
}

absl::Status CheckFile(const PinnedFolder& folder, const NamedFile& file) {
  const std::string path = folder.PathOf(file.name);
  const absl::StatusOr<int> descriptor = folder.Descriptor(file.name);
  if (absl::IsNotFound(descriptor.status())) {
    return Damaged(path, "is missing although the journal names it");
  }
  TRIBUTARY_RETURN_IF_ERROR(descriptor.status());
  const auto close_it = absl::MakeCleanup([&] { close(*descriptor); });
  if (file.seal == NamedFile::Seal::kInReplay) {
    return absl::OkStatus();
  }
  const bool sealed = file.seal == NamedFile::Seal::kInFile;
  Sha256Hasher hasher;
  std::string tail;  // not hashed yet: perhaps the digest
  TRIBUTARY_RETURN_IF_ERROR(ReadPieces(*descriptor, path, [&](absl::string_view piece) {
    absl::StrAppend(&tail, piece);
    const size_t hashed = !sealed ? tail.size() : tail.size() - std::min(tail.size(), kDigestBytes);
    hasher.Update(absl::string_view(tail).substr(0, hashed));
    tail.erase(0, hashed);
    return absl::OkStatus();
  }));
  const Digest digest = hasher.Finish();
  return DigestBytes(digest) == (sealed ? tail : DigestBytes(file.digest)) ? absl::OkStatus()
                                                                           : Damaged(path, "is damaged: its SHA-256 does not match");
}

// Everything but a replay, which `tributary journal verify` does.
absl::Status Check(const FolderView& view) {
  TRIBUTARY_RETURN_IF_ERROR(view.journal->CheckIntegrity());
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<JournaledRun> runs, view.journal->Runs());
  for (const JournaledRun& run : runs) {
    TRIBUTARY_RETURN_IF_ERROR(view.journal->CheckRun(run));
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<NamedFile> files, FilesOf(*view.journal));
  for (const NamedFile& file : files) {
    TRIBUTARY_RETURN_IF_ERROR(CheckFile(*view.snapshots, file));
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> BytesOf(const PinnedFolder& folder, const std::string& name) {
  TRIBUTARY_ASSIGN_OR_RETURN(const int descriptor, folder.Descriptor(name));
  const auto close_it = absl::MakeCleanup([descriptor] { close(descriptor); });
  struct stat file = {};
  return fstat(descriptor, &file) == 0 ? absl::StatusOr<uint64_t>(file.st_size) : StorageError("read", folder.PathOf(name), errno);
}

uint64_t JournalBytes(const std::string& data_dir) {
  uint64_t bytes = 0;
  for (const char* const suffix : {"", "-wal"}) {
    std::error_code error;
    const uint64_t size = fs::file_size(JournalIn(data_dir) + suffix, error);
    bytes += error ? 0 : size;
  }
  return bytes;
}

// Makes `folder`, unless it is there and empty, for this user alone.
absl::Status MakeEmpty(const std::string& folder) {
  std::error_code error;
  if (fs::exists(folder, error)) {
    if (!fs::is_directory(folder, error) || !fs::is_empty(folder, error) || error) {
      return WithExitCode(absl::FailedPreconditionError(absl::StrCat(folder, " is not an empty folder; name one that is, or a new one")),
                          ExitCode::kUsage);
    }
    return absl::OkStatus();
  }
  TRIBUTARY_RETURN_IF_ERROR(MakeDirectories(folder));
  fs::permissions(folder, fs::perms::owner_all, error);
  return error ? StorageError("create the folder", folder, error.value()) : absl::OkStatus();
}

absl::Status CheckSpace(const std::string& folder, uint64_t needed) {
  TRIBUTARY_ASSIGN_OR_RETURN(const uint64_t free, FreeBytes(folder));
  if (free >= needed + kSpareBytes) {
    return absl::OkStatus();
  }
  return WithExitCode(
      absl::ResourceExhaustedError(absl::StrCat("the copy needs ", FormatBytes(static_cast<double>(needed)), ", and ",
                                                FormatBytes(static_cast<double>(kSpareBytes)), " are to stay free, but ", folder, " has ",
                                                FormatBytes(static_cast<double>(free)), " free; free some space or name another folder")),
      ExitCode::kStorage);
}

absl::Status CopyFile(const PinnedFolder& from, const std::string& name, const std::string& to,
                      const std::function<absl::Status(uint64_t bytes)>& copied) {
  TRIBUTARY_ASSIGN_OR_RETURN(const int source, from.Descriptor(name));
  const auto close_source = absl::MakeCleanup([source] { close(source); });
  const int target = open(to.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (target < 0) {
    return StorageError("write", to, errno);
  }
  const auto close_target = absl::MakeCleanup([target] { close(target); });
  TRIBUTARY_RETURN_IF_ERROR(ReadPieces(source, from.PathOf(name), [&](absl::string_view piece) -> absl::Status {
    for (absl::string_view rest = piece; !rest.empty();) {
      const ssize_t n = write(target, rest.data(), rest.size());
      if (n < 0 && errno != EINTR) {
        return StorageError("write", to, errno);
      }
      rest.remove_prefix(std::max<ssize_t>(n, 0));
    }
    return copied(piece.size());
  }));
  return fsync(target) == 0 ? absl::OkStatus() : StorageError("write", to, errno);
}

// From a view of `data_dir` to `folder`, which is empty and ours.
absl::StatusOr<BackedUp> Copy(const FolderView& view, const std::string& data_dir, const std::string& folder,
                              const CopyProgress& progress) {
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<NamedFile> files, FilesOf(*view.journal));
  uint64_t snapshot_bytes = 0;
  for (const NamedFile& file : files) {
    TRIBUTARY_ASSIGN_OR_RETURN(const uint64_t bytes, BytesOf(*view.snapshots, file.name));
    snapshot_bytes += bytes;
  }
  TRIBUTARY_RETURN_IF_ERROR(CheckSpace(folder, snapshot_bytes + JournalBytes(data_dir)));
  TRIBUTARY_RETURN_IF_ERROR(MakeDirectories(SnapshotsIn(folder)));
  BackedUp done;
  const std::string unfinished = absl::StrCat(folder, "/", kUnfinished);
  TRIBUTARY_RETURN_IF_ERROR(view.journal->BackUp(unfinished, [&](uint64_t copied, uint64_t total) {
    done.bytes = total;
    return progress(copied, total + snapshot_bytes);
  }));
  const uint64_t whole = done.bytes + snapshot_bytes;
  for (const NamedFile& file : files) {
    TRIBUTARY_RETURN_IF_ERROR(CopyFile(*view.snapshots, file.name, absl::StrCat(SnapshotsIn(folder), "/", file.name), [&](uint64_t bytes) {
      done.bytes += bytes;
      return progress(done.bytes, whole);
    }));
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<JournaledRun> runs, view.journal->Runs());
  for (const JournaledRun& run : runs) {
    TRIBUTARY_ASSIGN_OR_RETURN(const uint64_t round, view.journal->LastCommit(run.run_id));
    done.runs.push_back({run.run_id, run.state, round});
  }
  TRIBUTARY_RETURN_IF_ERROR(SyncPath(SnapshotsIn(folder)));
  if (rename(unfinished.c_str(), JournalIn(folder).c_str()) != 0) {
    return StorageError("write", JournalIn(folder), errno);
  }
  TRIBUTARY_RETURN_IF_ERROR(SyncPath(folder));
  return done;
}

// Takes back what CopyChecked made.
void Empty(const std::string& folder, bool made) {
  std::error_code ignored;
  fs::remove_all(SnapshotsIn(folder), ignored);
  for (const std::string& path : {JournalIn(folder), absl::StrCat(folder, "/", kUnfinished)}) {
    fs::remove(path, ignored);
  }
  if (made) {
    fs::remove(folder, ignored);
  }
}

absl::StatusOr<BackedUp> CopyChecked(const FolderView& view, const std::string& data_dir, const std::string& folder,
                                     const CopyProgress& progress) {
  std::error_code error;
  const bool made = !fs::exists(folder, error);
  TRIBUTARY_RETURN_IF_ERROR(MakeEmpty(folder));
  const auto copy = [&]() -> absl::StatusOr<BackedUp> {
    // Nobody is to start a coordinator there before all is.
    TRIBUTARY_ASSIGN_OR_RETURN(std::unique_ptr<FolderLock> lock, FolderLock::Take(folder));
    TRIBUTARY_ASSIGN_OR_RETURN(BackedUp done, Copy(view, data_dir, folder, progress));
    lock.reset();
    TRIBUTARY_ASSIGN_OR_RETURN(const FolderView copied, LookAt(folder));
    TRIBUTARY_RETURN_IF_ERROR(Check(copied));
    return done;
  };
  absl::StatusOr<BackedUp> done = copy();
  if (!done.ok()) {
    Empty(folder, made);
  }
  return done;
}

}  // namespace

absl::StatusOr<BackedUp> BackUpFolder(const std::string& data_dir, const std::string& folder, const CopyProgress& progress) {
  TRIBUTARY_ASSIGN_OR_RETURN(const FolderView view, LookAt(data_dir));
  return CopyChecked(view, data_dir, folder, progress);
}

absl::StatusOr<BackedUp> RestoreFolder(const std::string& folder, const std::string& data_dir, const CopyProgress& progress) {
  TRIBUTARY_ASSIGN_OR_RETURN(const FolderView view, LookAt(folder));
  TRIBUTARY_RETURN_IF_ERROR(Check(view));
  return CopyChecked(view, folder, data_dir, progress);
}

}  // namespace tributary::coordinator
