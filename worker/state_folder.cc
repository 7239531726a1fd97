#include "worker/state_folder.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/exit_codes.h"
#include "common/folder_probe.h"
#include "common/status_macros.h"
#include "common/worker_secret.h"
#include "worker/kept_secret.h"
#include "worker/saved_state.h"

namespace tributary::worker {

absl::StatusOr<StateFolder> OpenStateFolder(const std::string& path) {
  StateFolder folder;
  TRIBUTARY_RETURN_IF_ERROR(MakeDirectories(path));
  absl::StatusOr<std::unique_ptr<FolderLock>> lock = FolderLock::Take(path);
  if (absl::IsFailedPrecondition(lock.status())) {
    return WithExitCode(absl::FailedPreconditionError(absl::StrCat(
                            "state_dir ", path, " is in use by another worker; stop that one, or give this one another folder")),
                        ExitCode::kStorage);
  }
  TRIBUTARY_RETURN_IF_ERROR(lock.status());
  folder.lock = *std::move(lock);
  // Now, and not with the first round.
  TRIBUTARY_RETURN_IF_ERROR(Annotate(ProbeFolder(path), "state_dir"));
  // What a residual tells of the data is for this user alone.
  TRIBUTARY_ASSIGN_OR_RETURN(folder.store, OpenFolder(path, 0600));
  TRIBUTARY_ASSIGN_OR_RETURN(folder.worker_secret, KeptSecret(*folder.store, NewWorkerSecret));
  TRIBUTARY_ASSIGN_OR_RETURN(folder.saved_runs, SavedRuns(*folder.store));
  return folder;
}

}  // namespace tributary::worker
