// What a worker does with its data: gradients, pseudo-gradients and validation losses of the run's model. LibTorch stays behind this
// header.
#ifndef TRIBUTARY_WORKER_TRAINER_H_
#define TRIBUTARY_WORKER_TRAINER_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/clock.h"
#include "optim/data_kind.h"
#include "optim/layout.h"
#include "optim/metric_kind.h"
#include "optim/model_spec.h"
#include "optim/options.h"
#include "worker/data/data_description.h"
#include "worker/data/table_options.h"

namespace tributary::worker {

struct TrainerOptions {
  optim::ModelSpec model;
  optim::OptimizerOptions optimizer;
  optim::DataKind data_kind = optim::DataKind::kText;
  std::string data_folder;
  TableOptions table;                    // of csv; its inputs and outputs are the model's
  uint32_t token_bytes = 2;              // of a number, where data are numbers of tokens
  std::vector<std::string> class_names;  // of images, where the run names them
  // v1.DataSpec and v1.EvaluationSpec say what they mean, their ranges and defaults.
  uint32_t batch_size = 0;
  double validation_fraction = 0;
  uint32_t evaluation_batches = 0;
  std::vector<optim::MetricKind> metrics;  // what an evaluation is asked for besides the loss
  // Local steps that this site takes at most in a round, where the run leaves their number to it.
  uint32_t most_local_steps = optim::kMaxLocalSteps;
  // Batches are a function of (seed, site, round, local step) alone: a worker that comes back draws what it would have drawn.
  uint64_t seed = 1;
  std::string site;
  int threads = 1;  // 0: UsableCores()
  // Times the steps, and says how many fit into a round where the run leaves that to the site.
  Clock* clock = &Clock::Real();
};

struct StepResult {
  float train_loss = 0;  // mean over the local steps; in the model's unit (Model::Loss)
  float compute_seconds = 0;
  uint32_t local_steps = 0;  // that were taken; 0: as many as the round told
};

// What a theta is worth on the site's validation split.
struct Evaluation {
  double loss = 0;                        // mean; nats per token or row
  std::map<std::string, double> metrics;  // by name (optim/metric_kind.h); those that are defined there
};

// "1.13.1".
std::string LibTorchVersion();

// Not thread-safe: one thread uses it.
class Trainer {
 public:
  // Reads and checks the data. Errors carry exit code kData ("/data/a.csv:17: 5 values, but the header has 6") except a model whose blocks
  // differ from `layout` (Internal).
  static absl::StatusOr<std::unique_ptr<Trainer>> Create(const TrainerOptions& options, const optim::Layout& layout);
  virtual ~Trainer() = default;

  // Writes to `direction` [layout.size()] what the mode asks for (optim::DirectionOf) of round `parameters.round`, from `theta`
  // [layout.size()], which is unchanged. Timed steps: of as many as fit (local_steps.h), not scaled. Gradients come unclipped. Inner AdamW
  // moments persist from round to round. FailedPrecondition: a gradient of a local step is not finite; skip the round (the moments stay
  // finite).
  virtual absl::StatusOr<StepResult> ComputeDirection(const optim::RoundParameters& parameters, absl::Span<const float> theta,
                                                      absl::Span<float> direction) = 0;

  // What it trains on. A trainer without data of its own has nothing to say.
  virtual DataDescription data() const { return {}; }

  // Samples in the site's training split: rows of a table, or windows of `context` tokens that fit into the text side by side. A trainer
  // without data of its own has 1.
  virtual uint64_t training_samples() const { return 1; }

  // Of `theta` on the site's validation split; always the same batches. Unimplemented: it has none.
  virtual absl::StatusOr<Evaluation> Evaluate(absl::Span<const float> theta) = 0;

  // What persists from round to round, to be kept over a restart: a trainer of the same options and layout that restores it goes on with
  // the same bits. Empty: nothing does.
  virtual std::string SaveState() const { return ""; }
  // DataLoss: not a state of this layout and mode, or damaged; the trainer is unchanged.
  virtual absl::Status RestoreState(absl::string_view state) {
    return state.empty() ? absl::OkStatus() : absl::DataLossError("saved trainer state: this trainer has none");
  }
};

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_TRAINER_H_
