// What `tributary journal` does with a coordinator's data folder. Looking and checking do not disturb a coordinator that works in it; what
// changes the journal needs it stopped.
#ifndef TRIBUTARY_COORDINATOR_JOURNAL_TOOL_H_
#define TRIBUTARY_COORDINATOR_JOURNAL_TOOL_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/journal/journal.h"
#include "tributary/v1/admin.pb.h"
#include "tributary/v1/run.pb.h"

namespace tributary::coordinator {

// All errors: NotFound (no journal in that folder, no such run), FailedPrecondition with exit code kStorage (a coordinator uses the
// folder; not of what only looks), DataLoss with exit code kDamaged.

struct Verification {
  struct RunResult {
    std::string run_id;
    uint64_t commits = 0;
    uint64_t pruned = 0;  // of these, from the first on, are without their records
    uint64_t snapshots = 0;
    std::string state_hash;  // hexadecimal, of the newest commit
  };
  std::vector<RunResult> runs;
  // What is wrong and where, one a line; empty: all is well.
  std::vector<std::string> problems;
};

// Checks everything: the rows and SQLite's own structure, every run's hash chain from its layout on, every state hash by replaying every
// commit on the initial weights (of a pruned run, from the last pruned commit and from the oldest snapshot since), every snapshot, and that
// the updates kept make the commits journaled. `progress` is told after each round; an error of it ends the work.
absl::StatusOr<Verification> VerifyJournal(
    const std::string& data_dir, const std::function<absl::Status(const std::string& run_id, uint64_t round, uint64_t last)>& progress);

struct Truncation {
  std::string backup;                // a data folder as it was: the journal and its snapshots
  uint64_t dropped = 0;              // commits
  std::string state_hash;            // hexadecimal, of state[round]
  bool residual_known = false;       // else the server-side residual begins empty: the updates that led to it are not kept any more
  std::vector<std::string> damaged;  // what else of the run was damaged and is dropped, by name
};

// Takes `run` (an id, or the name of the newest run that bears it) back to `round`, so that it goes on from there, all at once or not at
// all. What is after `round` may be damaged; what leads there must be sound. NotFound: the round is pruned. FailedPrecondition, exit code
// kUsage: the run has no such round, or is over and another run bears its name now. AlreadyExists: there is a copy from an earlier time.
absl::StatusOr<Truncation> TruncateJournal(const std::string& data_dir, const std::string& run, uint64_t round);

// The journal was in format `from` and is in format `to`, the newest.
struct Upgrade {
  int64_t from = 0;
  int64_t to = 0;
  std::string backup;  // a data folder as it was: the journal and its snapshots; empty: it was in the newest format already
};

// Rewrites the journal in the newest format, all at once or not at all; until somebody says so, a coordinator leaves it in the format that
// it has. Every row must be sound. AlreadyExists, exit code kUsage: there is a copy from an earlier time.
absl::StatusOr<Upgrade> UpgradeJournal(const std::string& data_dir);

// The journal of that folder, to look at.
absl::StatusOr<std::unique_ptr<Journal>> InspectJournal(const std::string& data_dir);

// What a coordinator would tell operators of a run (id, or the name of the newest that bears it).
struct RunAsTold {
  v1::RunStatus status;
  v1::RunHistory history;
};
absl::StatusOr<RunAsTold> ReadRun(const std::string& data_dir, const std::string& run);

// By id, or the newest by name. NotFound.
absl::StatusOr<JournaledRun> FindJournaledRun(Journal& journal, const std::string& run);

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_JOURNAL_TOOL_H_
