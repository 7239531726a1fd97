// The folder of what must survive a restart of a worker, this process's own.
#ifndef TRIBUTARY_WORKER_STATE_FOLDER_H_
#define TRIBUTARY_WORKER_STATE_FOLDER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/file_store.h"
#include "common/files.h"

namespace tributary::worker {

struct StateFolder {
  std::unique_ptr<FolderLock> lock;
  std::unique_ptr<FileStore> store;
  // As KeptSecret says.
  std::string worker_secret;
  // As SavedRuns says.
  std::vector<std::string> saved_runs;
};

// Makes it if need be. Exit code kStorage: it cannot be written or read, or another worker uses it.
absl::StatusOr<StateFolder> OpenStateFolder(const std::string& path);

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_STATE_FOLDER_H_
