// The log of one run, read: what its specification means, its state at any round, and the bytes that downloads serve.
#ifndef TRIBUTARY_COORDINATOR_RUN_RUN_LOG_H_
#define TRIBUTARY_COORDINATOR_RUN_RUN_LOG_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/checksum.h"
#include "common/stored_bytes.h"
#include "coordinator/journal/journal.h"
#include "coordinator/journal/snapshot_store.h"
#include "optim/aggregator.h"
#include "optim/apply.h"
#include "optim/layout.h"
#include "optim/model_spec.h"
#include "optim/options.h"
#include "optim/replica_state.h"
#include "optim/state_hash.h"
#include "tributary/v1/config.pb.h"
#include "tributary/v1/run.pb.h"

namespace tributary::coordinator {

// DataLoss, exit code kDamaged: `message` says what is damaged; what to do is added.
absl::Status DamagedLog(absl::string_view message);
// Unless what was found says that the storage failed: that is no damage.
absl::Status DamagedLog(const absl::Status& found, absl::string_view message);

// What follows from a run's specification, and how many threads of this machine its model is worth.
struct RunModel {
  v1::RunSpec spec;
  optim::ModelSpec model;
  optim::OptimizerOptions options;
  v1::OptimizerSpec in_force;  // the same, to be shown
  optim::Layout layout;
  uint64_t max_payload = 0;  // longest update, bytes
  int threads = 1;           // for Apply and StateHash; results do not depend on it

  // InvalidArgument names the key.
  static absl::StatusOr<RunModel> Of(const v1::RunSpec& spec);
  // Size of an encoded snapshot, near enough to compare downloads.
  uint64_t SnapshotBytes() const;
};

// The coordinator's folder for files of initial weights.
std::string InitialWeightsFolder(const v1::CoordinatorConfig& config);
// The file there that the run names; null: it names none. InvalidArgument: it is not there, or not to be read, without saying which.
absl::StatusOr<SharedBytes> OpenInitialWeights(const RunModel& model, const std::string& folder);

// state[0] of the run: from `weights`, or from its seed if they are null. InvalidArgument: not a file of such a model, or not of numbers.
absl::StatusOr<optim::ReplicaState> MakeInitialState(const RunModel& model, const StoredBytes* weights);

// The chain hash before the first commit.
Digest ChainStart(const optim::Layout& layout, const Digest& initial_state_hash);

// Moves `state` over one journaled commit. DataLoss, exit code kDamaged: the record does not decode or follow. Whether the state is the
// journaled one is for CheckState to say, once at the end: the log's hash chain holds every record in its place, and one wrong bit on the
// way would show in the last hash.
absl::Status ReplayCommit(const RunModel& model, uint64_t round, const StoredBytes& record, optim::ReplicaState& state);
// DataLoss, exit code kDamaged.
absl::Status CheckState(const RunModel& model, const optim::ReplicaState& state, const Digest& journaled);

// Adds a journaled update to the open sum, with its weight: its payload, or the file that it is in, which must stay until the sum is
// closed. `norm`: if it is known. Returns what the sum was given of the file, to take it back with; null: it has a copy.
absl::StatusOr<SharedBytes> SumUpdate(const RunModel& model, const SnapshotStore& store, const JournaledUpdate& update,
                                      optim::Aggregator& aggregator, std::optional<double> norm = std::nullopt);

// The commit's record, in memory or in its file. DataLoss, exit code kDamaged: the file is missing, or has another length.
absl::StatusOr<SharedBytes> RecordOf(const SnapshotStore& store, const JournaledCommit& commit,
                                     SnapshotStore::Readable readable = SnapshotStore::Readable::kWhileThere);

// Reads the snapshot file and checks it against the journal. DataLoss, exit code kDamaged.
absl::StatusOr<optim::ReplicaState> LoadSnapshot(const RunModel& model, const SnapshotStore& store, const JournaledSnapshot& snapshot);

// Not thread-safe. Journal, store and model must outlive it.
class RunLog {
 public:
  RunLog(std::string run_id, const RunModel* model, Journal* journal, const SnapshotStore* store)
      : run_id_(std::move(run_id)), model_(model), journal_(journal), store_(store) {}

  // state[round], from the newest snapshot at or before it whose file is there, and the commits since. NotFound: not committed yet,
  // or pruned.
  absl::StatusOr<optim::ReplicaState> StateAt(uint64_t round);

  // The snapshot file of that round, not read yet. Shared by all who ask while one of them still holds it. NotFound: no snapshot of that
  // round.
  absl::StatusOr<SharedBytes> Snapshot(uint64_t round);
  absl::StatusOr<SharedBytes> NewestSnapshot();

  // Records first..last, as optim::SplitCommitRecords reads them. NotFound: not all committed, or pruned. InvalidArgument: an empty
  // range.
  // ResourceExhausted: more than kMaxCommitDownload bytes.
  absl::StatusOr<SharedBytes> Commits(uint64_t first, uint64_t last);

 private:
  const std::string run_id_;
  const RunModel* const model_;
  Journal* const journal_;
  const SnapshotStore* const store_;
  std::map<std::pair<uint64_t, uint64_t>, std::weak_ptr<const StoredBytes>> commits_;
};

// One download of commits is at most this long (or one commit); a site that lacks more is brought up to date in several. It is in memory,
// and read from the journal in one go.
inline constexpr uint64_t kMaxCommitDownload = uint64_t{64} << 20;

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_RUN_RUN_LOG_H_
