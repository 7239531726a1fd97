// Named byte strings in one flat place, replaced whole or added to: a folder on disk, or in simulations a disk that fails as disks do.
#ifndef TRIBUTARY_COMMON_FILE_STORE_H_
#define TRIBUTARY_COMMON_FILE_STORE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/stored_bytes.h"

namespace tributary {

// Whether `name` is [A-Za-z0-9._-]+, at most 200 characters, not beginning with '.': in whichever folder, it leads nowhere else.
bool IsFileName(absl::string_view name);

// Names are such; InvalidArgument otherwise, for names may come from disk and
// must lead nowhere else. Other errors carry exit code kStorage. Not thread-safe; a
// folder's writers, and what Open returns, may be used by other threads.
class FileStore {
 public:
  virtual ~FileStore() = default;
  // Where `name` is, for messages.
  virtual std::string PathOf(absl::string_view name) const = 0;
  // NotFound. ResourceExhausted: longer than `max_bytes`.
  virtual absl::StatusOr<std::string> Read(const std::string& name, uint64_t max_bytes) const = 0;
  // Durable when it returns OK; after a crash at any moment there are the old bytes or the new ones. ResourceExhausted: no space, and
  // nothing is left behind.
  virtual absl::Status Write(const std::string& name, absl::string_view bytes) = 0;
  // Adds to the end of `name`, which is made if need be. Durable when it returns OK; after a crash at any moment there are the old bytes,
  // followed by none, some or all of `bytes`. ResourceExhausted: no space.
  virtual absl::Status Append(const std::string& name, absl::string_view bytes) = 0;
  // The same in pieces.
  class Writer {
   public:
    // Nothing is left of it, unless it was finished.
    virtual ~Writer() = default;
    // After an error it can only be dropped.
    virtual absl::Status Append(absl::string_view bytes) = 0;
    // Once. Durable when it returns OK.
    virtual absl::Status Finish() = 0;
  };
  // Unless overridden, gathers the pieces in memory; the store must outlive it then.
  virtual absl::StatusOr<std::unique_ptr<Writer>> Create(const std::string& name);
  // To be read in slices, as long as nobody removes or replaces it. NotFound. Unless overridden, in memory.
  virtual absl::StatusOr<SharedBytes> Open(const std::string& name) const;
  // The same, readable also after somebody has removed or replaced it. Unless overridden, in memory.
  virtual absl::StatusOr<SharedBytes> OpenForGood(const std::string& name) const { return Open(name); }
  virtual bool Exists(const std::string& name) const = 0;
  // OK if there is no such name.
  virtual absl::Status Remove(const std::string& name) = 0;
  // Ascending.
  virtual absl::StatusOr<std::vector<std::string>> Names() const = 0;
};

// Makes the folder if need be, and removes what interrupted writes have left in it. `mode`: permission bits of the files.
absl::StatusOr<std::unique_ptr<FileStore>> OpenFolder(const std::string& directory, unsigned mode = 0644);

// Of a file that is open, which this takes. `path` is for messages. Exit code kStorage.
absl::StatusOr<SharedBytes> BytesOfDescriptor(int descriptor, std::string path);

// The folder to look at: nothing is made, and nothing removed. In a folder that is not there, no file is found.
std::unique_ptr<FileStore> FolderToRead(const std::string& directory);

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_FILE_STORE_H_
