// What a site gets without the federation: one worker alone on its own data, measured on everybody's.
//
// The control that a federated run is compared with: the same initial weights, the same batches, as many steps, AdamW at a learning rate
// of its own, and the same validation batches that the sites of the run would evaluate.
#ifndef TRIBUTARY_WORKER_SOLO_H_
#define TRIBUTARY_WORKER_SOLO_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "optim/layout.h"
#include "worker/trainer.h"

namespace tributary::worker {

// Of AdamW on the default model at a batch of 8 x 64 tokens; a run's own peak rate may belong to another rule (a sign step, say).
inline constexpr double kSoloLearningRate = 3e-3;

struct SoloOptions {
  // Model, data, batches and schedule as the run has them: optimizer.rounds times as many steps are taken as a round has local steps,
  // whatever its mode.
  TrainerOptions trainer;
  // Peak of the schedule in place of the run's.
  double learning_rate = kSoloLearningRate;
  // state[0] of the run, [layout.size()].
  std::vector<float> initial_theta;
  // Folders whose validation splits are evaluated; at least one.
  std::vector<std::string> evaluation_folders;
  // Called after every round with its number and training loss. May be empty.
  std::function<void(uint64_t round, double train_loss)> progress;
};

// Losses in the model's unit (Model::Loss): means over the evaluation folders.
struct SoloResult {
  double val_loss_first = 0;
  double val_loss_last = 0;
  std::vector<double> val_loss_last_by_folder;
  // Cross-entropy of the training shard's byte (or class) frequencies with add-one smoothing: what a model that ignores its input can
  // reach. NaN where there are no classes.
  double unigram_loss = 0;
  double train_loss_last = 0;
  uint64_t steps = 0;
  std::vector<float> theta;  // trained
};

// Errors of Trainer::Create; InvalidArgument: no evaluation folder, or initial_theta of another size; FailedPrecondition: the training
// diverged.
absl::StatusOr<SoloResult> RunSolo(const SoloOptions& options, const optim::Layout& layout);

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_SOLO_H_
