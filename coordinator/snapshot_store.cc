#include "coordinator/snapshot_store.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "absl/memory/memory.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/checksum.h"
#include "common/exit_codes.h"
#include "common/files.h"
#include "common/status_macros.h"

namespace tributary::coordinator {
namespace {

constexpr absl::string_view kSuffix = ".snapshot";
constexpr size_t kDigestBytes = 32;

// Names come from the journal, that is from disk: nothing in them may lead out of the folder.
bool IsSafeName(absl::string_view name) {
  return !name.empty() && name.size() <= 200 && name.front() != '.' && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
  });
}

absl::Status StorageError(absl::string_view what, absl::string_view path, int error) {
  return WithExitCode(absl::InternalError(absl::StrCat("cannot ", what, " ", path, ": ", std::strerror(error))), ExitCode::kStorage);
}

absl::Status Damaged(absl::string_view path, absl::string_view how) {
  return WithExitCode(
      absl::DataLossError(absl::StrCat("snapshot ", path, " ", how,
                                       "; restore the coordinator's data folder from a backup, or move the folder away to start anew")),
      ExitCode::kDamaged);
}

}  // namespace

SnapshotStore::SnapshotStore(std::string directory) : directory_(std::move(directory)) {}

absl::StatusOr<std::unique_ptr<SnapshotStore>> SnapshotStore::Open(const std::string& directory) {
  TRIBUTARY_RETURN_IF_ERROR(MakeDirectories(directory));
  return absl::WrapUnique(new SnapshotStore(directory));
}

absl::StatusOr<std::string> SnapshotStore::Save(const std::string& run_id, uint64_t round, absl::string_view bytes) {
  if (!IsSafeName(run_id)) {
    return absl::InvalidArgumentError(absl::StrCat("run id '", run_id, "' cannot be part of a file name"));
  }
  // Zero-padded, so that a listing sorts by round.
  std::string file = absl::StrFormat("%s-%012d%s", run_id, round, kSuffix);
  TRIBUTARY_RETURN_IF_ERROR(WriteFileAtomically(absl::StrCat(directory_, "/", file), bytes));
  return file;
}

absl::StatusOr<std::string> SnapshotStore::Load(const std::string& file) const {
  const std::string path = absl::StrCat(directory_, "/", file);
  if (!IsSafeName(file)) {
    return Damaged(path, "has a name that no snapshot has");
  }
  absl::StatusOr<std::string> bytes = ReadFile(path, std::numeric_limits<int64_t>::max());
  if (absl::IsNotFound(bytes.status())) {
    return Damaged(path, "is missing although the journal names it");
  }
  TRIBUTARY_RETURN_IF_ERROR(bytes.status());
  if (bytes->size() < kDigestBytes) {
    return Damaged(path, "is truncated");
  }
  const absl::string_view content(bytes->data(), bytes->size() - kDigestBytes);
  const absl::string_view digest(bytes->data() + content.size(), kDigestBytes);
  if (DigestBytes(Sha256(content)) != digest) {
    return Damaged(path, "is damaged: its SHA-256 does not match");
  }
  return bytes;
}

bool SnapshotStore::Exists(const std::string& file) const {
  return IsSafeName(file) && access(absl::StrCat(directory_, "/", file).c_str(), F_OK) == 0;
}

absl::Status SnapshotStore::Remove(const std::string& file) {
  if (!IsSafeName(file)) {
    return absl::InvalidArgumentError(absl::StrCat("'", file, "' is not the name of a snapshot"));
  }
  const std::string path = absl::StrCat(directory_, "/", file);
  if (unlink(path.c_str()) != 0 && errno != ENOENT) {
    return StorageError("remove", path, errno);
  }
  return absl::OkStatus();
}

absl::Status SnapshotStore::RemoveAllBut(const std::set<std::string>& keep) {
  DIR* const folder = opendir(directory_.c_str());
  if (folder == nullptr) {
    return StorageError("list", directory_, errno);
  }
  std::vector<std::string> surplus;
  while (const dirent* const entry = readdir(folder)) {
    // A temporary file of WriteFileAtomically bears the snapshot's name and more.
    const std::string name = entry->d_name;
    if (absl::StrContains(name, kSuffix) && keep.count(name) == 0) {
      surplus.push_back(name);
    }
  }
  closedir(folder);
  for (const std::string& name : surplus) {
    const std::string path = absl::StrCat(directory_, "/", name);
    if (unlink(path.c_str()) != 0 && errno != ENOENT) {
      return StorageError("remove", path, errno);
    }
  }
  return absl::OkStatus();
}

}  // namespace tributary::coordinator
