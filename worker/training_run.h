// What the training thread owns of a run: the model's state, the residual, the trainer. Everything heavy that a worker does is a method
// here.
#ifndef TRIBUTARY_WORKER_TRAINING_RUN_H_
#define TRIBUTARY_WORKER_TRAINING_RUN_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/clock.h"
#include "common/file_store.h"
#include "common/memory_limits.h"
#include "optim/encoder.h"
#include "optim/layout.h"
#include "optim/options.h"
#include "optim/replica_state.h"
#include "tributary/v1/config.pb.h"
#include "tributary/v1/run.pb.h"
#include "tributary/v1/session.pb.h"
#include "worker/saved_state.h"
#include "worker/state_keeper.h"
#include "worker/trainer.h"
#include "worker/training_metrics.h"
#include "worker/worker_engine.h"

namespace tributary::worker {

// Trainer::Create, or a test's own.
using TrainerFactory = std::function<absl::StatusOr<std::unique_ptr<Trainer>>(const TrainerOptions&, const optim::Layout&)>;

// optim::MakeUpdateEncoder, or what makes the same bytes elsewhere.
using EncoderFactory =
    std::function<absl::StatusOr<std::unique_ptr<optim::UpdateEncoder>>(const optim::OptimizerOptions&, const optim::Layout&, int threads)>;

// What the trainer of `spec` needs at this site. InvalidArgument: the run is not valid.
absl::StatusOr<TrainerOptions> TrainerOptionsOf(const v1::RunSpec& spec, const v1::WorkerConfig& config);

// Not thread-safe: one thread uses it.
class TrainingRun {
 public:
  struct Dependencies {
    TrainerFactory make_trainer;
    EncoderFactory make_encoder = optim::MakeUpdateEncoder;
    Clock* clock = &Clock::Real();
    TrainingMetrics* metrics = &TrainingMetrics::None();
    // What there is; asked before anything is made. An error: nobody knows, and no run is refused for it.
    std::function<absl::StatusOr<MemoryLimits>()> memory = [] { return ReadMemoryLimits(); };
    // Where residual, trainer and pending update are kept (state_keeper.h); null: nowhere, and a restart loses them.
    FileStore* store = nullptr;
    uint64_t max_logged_payload = kMaxLoggedPayload;
  };

  // Model, encoder and trainer of the run that is offered, as they were saved if they were. What is saved but damaged is set aside with a
  // warning: it costs the residual. InvalidArgument: the run is not valid. FailedPrecondition: this program's model has another layout than
  // the coordinator's (versions differ); or, exit code kMemory, it does not fit into memory. Errors of Trainer::Create (exit code kData).
  // All of these are this run's alone, and say with RefusalOf what its operator is told. Aborted, exit code kStorage: what is saved cannot
  // be read, and no run can be trained.
  static absl::StatusOr<std::unique_ptr<TrainingRun>> Create(const v1::WorkerConfig& config, const v1::RunOffer& offer,
                                                             Dependencies dependencies);

  // SHA-256 of the columns that this site trains on, for the coordinator to compare; empty: it has none.
  std::string columns_digest() const { return trainer_->data().columns_digest; }
  // The update that was pending in what was saved, once.
  std::optional<PendingUpdate> TakePending() { return std::exchange(pending_, std::nullopt); }

  // state[0] from the run's seed: the same bits as the coordinator's. FailedPrecondition: the run starts from a file of weights.
  absl::StatusOr<ReplicaPosition> InitializeFromSeed();
  // DataLoss: damaged, or of another model; the state held before stays.
  absl::StatusOr<ReplicaPosition> LoadSnapshot(absl::string_view bytes);
  // Applies the records in order; records of rounds already held are skipped. Stops at the first that fails; `held` says where the replica
  // stands.
  absl::Status ApplyCommits(std::vector<std::string> records, ReplicaPosition& held);

  // Evaluates the state held if the round asks for it, trains from the state that the round starts from (the one held or, in a pipelined
  // run, the one before), encodes, and saves what that led to. The update stays pending until Settle.
  // FailedPrecondition: the loss or the gradient is not finite, or too large to send. Internal: the base is neither of the two.
  // AlreadyExists: an update of this round was sent before the restart, and this is not the same (state_keeper.h). Aborted, exit code
  // kStorage: it cannot be saved; the update must not be sent, and the program should end.
  absl::StatusOr<TrainedUpdate> Train(const v1::RoundStart& start);
  // The computing part of a Train to come, from the state held. Train uses it if its round, base and parameters are these.
  void ComputeAhead(const v1::RoundStart& start);
  void Settle(UpdateFate fate);
  absl::StatusOr<Evaluation> Evaluate();

  // Saves what is not saved yet, before the run is let go of. Errors of FileStore.
  absl::Status Keep();

 private:
  explicit TrainingRun(Dependencies dependencies) : dependencies_(std::move(dependencies)) {}
  ReplicaPosition Position() const;
  // With timed steps, direction_ is then scaled to as many as the round tells.
  absl::StatusOr<StepResult> Compute(const v1::RoundStart& start);
  absl::StatusOr<TrainedUpdate> TrainAndEncode(const v1::RoundStart& start);
  absl::Status Save();
  SavedState Whole() const;
  absl::Status CheckRoom() const;
  absl::Status Restore();
  absl::Status RestoreCopy(StateKeeper::Kept kept);
  // Whether an update of this round and base was sent before the restart, and is not this one.
  bool ContradictsSent(const v1::RoundStart& start, const TrainedUpdate& update) const;
  StateOwner Owner() const { return {run_id_, site_, &layout_}; }

  Dependencies dependencies_;
  std::string run_id_;
  std::string site_;
  v1::RunSpec spec_;
  int threads_ = 1;  // of everything but the trainer
  optim::OptimizerOptions optimizer_;
  optim::ModelSpec model_;
  optim::Layout layout_;
  std::optional<optim::ReplicaState> state_;
  std::unique_ptr<optim::UpdateEncoder> encoder_;
  std::unique_ptr<Trainer> trainer_;
  std::vector<float> direction_;  // [layout.size()]

  // Pipelined runs: the parameters of the state before the last commit. A copy, because taking a step back arithmetically is inexact.
  struct Previous {
    uint64_t round = 0;
    std::string hash;
    std::vector<float> theta;
  };
  std::optional<Previous> previous_;
  struct Ahead {
    v1::RoundStart start;
    absl::StatusOr<StepResult> step;
    std::string trainer_before;
  };
  // As if it had not been computed.
  void DropAhead();
  std::optional<Ahead> ahead_;           // what direction_ holds, if it was computed ahead
  bool slowness_told_ = false;           // that local steps take longer than the run's time for them
  std::unique_ptr<StateKeeper> keeper_;  // null: without a store
  uint64_t trained_round_ = 0;
  std::optional<PendingUpdate> unsettled_;  // the newest update, until Settle
  std::optional<PendingUpdate> pending_;    // until it is taken
  // Sent before the restart, and its payload is not known any more.
  std::optional<PendingUpdate> lost_;
};

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_TRAINING_RUN_H_
