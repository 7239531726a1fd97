// A data folder as it is at one moment, whether a coordinator works in it or not.
#ifndef TRIBUTARY_COORDINATOR_FOLDER_VIEW_H_
#define TRIBUTARY_COORDINATOR_FOLDER_VIEW_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/file_store.h"
#include "coordinator/journal/journal.h"

namespace tributary::coordinator {

std::string JournalIn(const std::string& data_dir);
std::string SnapshotsIn(const std::string& data_dir);

// A folder to read, of which some files stay readable as they are even after somebody has removed them.
class PinnedFolder final : public FileStore {
 public:
  // Pins those of `names` that are there.
  PinnedFolder(const std::string& directory, const std::vector<std::string>& names);
  ~PinnedFolder() override;
  PinnedFolder(const PinnedFolder&) = delete;
  PinnedFolder& operator=(const PinnedFolder&) = delete;

  // An open descriptor of the file, which the caller closes; it may have been read before. NotFound. Exit code kStorage.
  absl::StatusOr<int> Descriptor(const std::string& name) const;

  std::string PathOf(absl::string_view name) const override { return folder_->PathOf(name); }
  absl::StatusOr<std::string> Read(const std::string& name, uint64_t max_bytes) const override;
  absl::StatusOr<SharedBytes> Open(const std::string& name) const override;
  bool Exists(const std::string& name) const override { return pinned_.contains(name) || folder_->Exists(name); }
  absl::StatusOr<std::vector<std::string>> Names() const override { return folder_->Names(); }
  // FailedPrecondition: it is there to be read.
  absl::Status Write(const std::string& name, absl::string_view bytes) override;
  absl::Status Append(const std::string& name, absl::string_view bytes) override;
  absl::Status Remove(const std::string& name) override;

 private:
  const std::unique_ptr<FileStore> folder_;
  std::map<std::string, int> pinned_;  // descriptors
};

// What the journal names is in the folder, as long as the view lives.
struct FolderView {
  std::unique_ptr<Journal> journal;
  std::unique_ptr<PinnedFolder> snapshots;
};

// Errors as of InspectSqliteJournal (journal/open_journal.h). A damaged journal can be looked at too, and a file that it names may be
// missing then.
absl::StatusOr<FolderView> LookAt(const std::string& data_dir);

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_FOLDER_VIEW_H_
