#include "coordinator/folder_view.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "common/descriptors.h"
#include "common/files.h"
#include "common/status_macros.h"
#include "coordinator/journal/open_journal.h"
#include "proto/run_state.h"

namespace tributary::coordinator {
namespace {

// A snapshot that the journal names may be gone a moment later, and the journal's word for it with it. Who looks so often and still finds a
// file missing has found damage.
constexpr int kLooks = 5;

// Snapshots of runs that are over stay.
absl::StatusOr<std::vector<std::string>> FilesThatMayGo(Journal& journal) {
  std::vector<std::string> files;
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<JournaledRun> runs, journal.Runs());
  for (const JournaledRun& run : runs) {
    if (IsOver(run.state)) {
      continue;
    }
    TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<JournaledSnapshot> snapshots, journal.Snapshots(run.run_id));
    for (const JournaledSnapshot& snapshot : snapshots) {
      files.push_back(snapshot.file);
      if (!snapshot.aggregator_file.empty()) {
        files.push_back(snapshot.aggregator_file);
      }
    }
    TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<std::string> payloads, journal.PayloadFiles(run.run_id));
    files.insert(files.end(), payloads.begin(), payloads.end());
  }
  return files;
}

}  // namespace

std::string JournalIn(const std::string& data_dir) {
  return data_dir + "/journal.db";
}

std::string SnapshotsIn(const std::string& data_dir) {
  return data_dir + "/snapshots";
}

PinnedFolder::PinnedFolder(const std::string& directory, const std::vector<std::string>& names) : folder_(FolderToRead(directory)) {
  // A descriptor for each commit of a long log may be more than the usual soft limit.
  RaiseDescriptorLimit();
  for (const std::string& name : names) {
    // Of a name that leads elsewhere, Exists says no.
    const int descriptor = folder_->Exists(name) ? open(PathOf(name).c_str(), O_RDONLY | O_CLOEXEC) : -1;
    if (descriptor >= 0) {
      pinned_.emplace(name, descriptor);
    }
  }
}

PinnedFolder::~PinnedFolder() {
  for (const auto& [name, descriptor] : pinned_) {
    close(descriptor);
  }
}

absl::StatusOr<int> PinnedFolder::Descriptor(const std::string& name) const {
  const auto pinned = pinned_.find(name);
  int descriptor = -1;
  if (pinned != pinned_.end()) {
    descriptor = fcntl(pinned->second, F_DUPFD_CLOEXEC, 0);
  } else if (folder_->Exists(name)) {
    descriptor = open(PathOf(name).c_str(), O_RDONLY | O_CLOEXEC);
  } else {
    errno = ENOENT;
  }
  return descriptor >= 0 ? absl::StatusOr<int>(descriptor) : StorageError("read", PathOf(name), errno);
}

absl::StatusOr<SharedBytes> PinnedFolder::Open(const std::string& name) const {
  if (!pinned_.contains(name)) {
    return folder_->Open(name);
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const int descriptor, Descriptor(name));
  return BytesOfDescriptor(descriptor, PathOf(name));
}

absl::StatusOr<std::string> PinnedFolder::Read(const std::string& name, uint64_t max_bytes) const {
  if (!pinned_.contains(name)) {
    return folder_->Read(name, max_bytes);
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const int descriptor, Descriptor(name));
  const auto close_it = absl::MakeCleanup([descriptor] { close(descriptor); });
  struct stat file = {};
  if (fstat(descriptor, &file) != 0) {
    return StorageError("read", PathOf(name), errno);
  }
  if (static_cast<uint64_t>(file.st_size) > max_bytes) {
    return StorageError("read", PathOf(name), EFBIG);
  }
  std::string bytes(file.st_size, '\0');
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t n = pread(descriptor, bytes.data() + done, bytes.size() - done, static_cast<off_t>(done));
    if (n <= 0) {
      return StorageError("read", PathOf(name), n == 0 ? EIO : errno);
    }
    done += n;
  }
  return bytes;
}

absl::Status PinnedFolder::Write(const std::string& name, absl::string_view) {
  return absl::FailedPreconditionError(absl::StrCat(PathOf(name), " is only looked at, and not written"));
}

absl::Status PinnedFolder::Append(const std::string& name, absl::string_view bytes) {
  return Write(name, bytes);
}

absl::Status PinnedFolder::Remove(const std::string& name) {
  return absl::FailedPreconditionError(absl::StrCat(PathOf(name), " is only looked at, and not removed"));
}

absl::StatusOr<FolderView> LookAt(const std::string& data_dir) {
  for (int look = 1;; ++look) {
    FolderView view;
    TRIBUTARY_ASSIGN_OR_RETURN(view.journal, InspectSqliteJournal(JournalIn(data_dir)));
    const absl::StatusOr<std::vector<std::string>> files = FilesThatMayGo(*view.journal);
    view.snapshots = std::make_unique<PinnedFolder>(SnapshotsIn(data_dir), files.value_or(std::vector<std::string>()));
    const bool whole =
        !files.ok() || std::all_of(files->begin(), files->end(), [&](const auto& file) { return view.snapshots->Exists(file); });
    if (whole || look == kLooks) {
      return view;
    }
  }
}

}  // namespace tributary::coordinator
