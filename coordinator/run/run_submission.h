// A run on its way into the queue: its first state, which takes as long to make, hash and write as the model is large.
#ifndef TRIBUTARY_COORDINATOR_RUN_RUN_SUBMISSION_H_
#define TRIBUTARY_COORDINATOR_RUN_RUN_SUBMISSION_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/checksum.h"
#include "common/stored_bytes.h"
#include "coordinator/journal/journal.h"
#include "coordinator/journal/snapshot_store.h"
#include "coordinator/run/run_log.h"
#include "coordinator/run/submission.h"

namespace tributary::coordinator {

// For the run after so many others. No secret, only different from all others of the journal; the count makes it so even when the clock
// stands still.
std::string NewRunId(const std::string& name, int64_t unix_ms, size_t others);

// FailedPrecondition: the run asks for metrics, and the journal is of a format that has no place for them.
absl::Status CheckKeepsMetrics(const v1::RunSpec& spec, const Journal& journal);

// Of a run for so many sites: what its operator must know of it, for people. `max_update`: CoordinatorConfig.max_update.
std::vector<std::string> WarningsOf(const RunModel& model, uint64_t max_update, uint64_t sites);

class RunSubmission final : public Submission {
 public:
  // `weights`: the file that the run names; null: its weights are made from its seed. `warnings`: what its operator must know, empty ones
  // of nothing. `store` must outlive it.
  static absl::StatusOr<std::shared_ptr<RunSubmission>> Create(JournaledRun run, RunModel model, SharedBytes weights,
                                                               std::vector<std::string> warnings, SnapshotStore* store);
  // Removes the snapshot, unless it was taken.
  ~RunSubmission() override;

  absl::Status Prepare() override;

  const JournaledRun& run() const { return run_; }
  const RunModel& model() const { return model_; }
  const std::vector<std::string>& warnings() const { return warnings_; }
  // The snapshot of a submission that is prepared, to be journaled: the file is the journal's from then on.
  JournaledSnapshot Take();

 private:
  RunSubmission(JournaledRun run, RunModel model, SharedBytes weights, std::vector<std::string> warnings, SnapshotStore* store);

  const JournaledRun run_;
  const RunModel model_;
  const SharedBytes weights_;
  const std::vector<std::string> warnings_;
  SnapshotStore* const store_;
  const std::string file_;
  std::unique_ptr<FileStore::Writer> writer_;
  Digest state_hash_{};
  bool taken_ = false;
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_RUN_RUN_SUBMISSION_H_
