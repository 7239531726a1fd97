// What `tributary backup` and `tributary restore` do: a checked copy of a data folder, made while the coordinator works or not, and the way
// back.
#ifndef TRIBUTARY_COORDINATOR_BACKUP_H_
#define TRIBUTARY_COORDINATOR_BACKUP_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/journal/journal.h"

namespace tributary::coordinator {

struct BackedUp {
  struct Run {
    std::string run_id;
    v1::RunState state = v1::SUBMITTED;
    uint64_t round = 0;  // the last committed
  };
  std::vector<Run> runs;
  uint64_t bytes = 0;  // of journal and snapshots
};

// Copies the journal of `data_dir`, as it is when this is called, and every snapshot that it names to `folder`, which must be empty or not
// there, and checks the copy: SQLite's own structure, every row, every chain, the SHA-256 of every file. Only a whole copy has a
// journal.db. `progress` is told the bytes copied so far; after an error, of it too, `folder` is as it was.
//
// FailedPrecondition with exit code kUsage: `folder` holds something. ResourceExhausted, exit code kStorage: too little space, with both
// figures; nothing is copied then. NotFound: no journal in `data_dir`. DataLoss, exit code kDamaged: what is copied fails its checks.
absl::StatusOr<BackedUp> BackUpFolder(const std::string& data_dir, const std::string& folder, const CopyProgress& progress);

// Checks the backup in `folder` first, then copies it likewise to `data_dir`, for a coordinator to continue from. Errors as above.
absl::StatusOr<BackedUp> RestoreFolder(const std::string& folder, const std::string& data_dir, const CopyProgress& progress);

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_BACKUP_H_
