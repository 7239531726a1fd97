// A Trainer whose work the program around the worker does, on a thread of its own: that is how a Python program keeps its training loop.
//
// The worker's training thread asks and waits; the host takes what is asked, does it, and answers. Nothing here knows of Python.
#ifndef TRIBUTARY_WORKER_HOSTED_TRAINER_H_
#define TRIBUTARY_WORKER_HOSTED_TRAINER_H_

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "optim/layout.h"
#include "optim/options.h"
#include "worker/training_run.h"

namespace tributary::worker {

// Between a worker and its host. Thread-safe. Must outlive the worker.
class HostedWork {
 public:
  // What the worker asks for. Pointers are good until the answer.
  struct Train {
    const TrainerOptions* options = nullptr;
    optim::RoundParameters parameters;
    absl::Span<const float> theta;  // [layout.size()]
    // What the mode asks for (optim::DirectionOf): of pseudo-gradients, theta before minus theta after the local steps.
    absl::Span<float> direction;  // [layout.size()], to be written
    // The local steps that were taken, to be written where steps are timed: at least kLeastTimedSteps, at most options->most_local_steps.
    uint32_t* local_steps = nullptr;
  };
  struct Evaluate {
    absl::Span<const float> theta;  // [layout.size()]
  };
  using Work = std::variant<Train, Evaluate>;

  // Whether the host knows which of its parameters are frozen; if not, the run says it.
  enum class Frozen { kUnknown, kKnown };

  // `blocks`: names and shapes of the host's parameters, in any order. `samples`: as Trainer::training_samples.
  HostedWork(std::vector<optim::Block> blocks, Frozen frozen, uint64_t samples)
      : blocks_(std::move(blocks)), frozen_(frozen), samples_(samples) {}

  // For the worker: WorkerOptions::make_trainer. Of a run whose model has other blocks: InvalidArgument, which names the first.
  TrainerFactory Factory();

  // For the host, on one thread.

  // Waits for work until `patience` is over; nothing then. The work is the host's until Answer.
  std::optional<Work> Next(absl::Duration patience);
  // Of what Next gave: the mean training loss, or what the evaluation found. Cancelled: the round is skipped; Unimplemented: the host
  // evaluates nothing.
  void Answer(absl::StatusOr<Evaluation> answer);
  // The layout of the run that is trained, whose blocks are in the order of theta; empty before the first.
  optim::Layout layout() const;

  // No more work is asked: what is not the host's yet, and what comes after, fails with `why`. From any thread.
  void Close(const absl::Status& why);

 private:
  class HostedTrainer;
  absl::StatusOr<Evaluation> Ask(Work work);

  const std::vector<optim::Block> blocks_;
  const Frozen frozen_;
  const uint64_t samples_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  // All under mutex_.
  optim::Layout layout_;
  std::optional<Work> work_;
  bool taken_ = false;
  std::optional<absl::StatusOr<Evaluation>> answer_;
  absl::Status closed_;
};

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_HOSTED_TRAINER_H_
