#include "worker/solo.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "optim/adamw.h"
#include "worker/data/data_source.h"
#include "worker/evaluation.h"
#include "worker/local_steps.h"
#include "worker/models/model.h"

namespace tributary::worker {
namespace {

// Nats per target of `counts` plus one each, on the validation batches of `data`. NaN: there are no classes, and no counts.
double UnigramLoss(const std::vector<uint64_t>& counts, const DataSource& data) {
  const double total = static_cast<double>(std::accumulate(counts.begin(), counts.end(), uint64_t{0}) + counts.size());
  double sum = 0;
  uint64_t targets = 0;
  for (uint32_t i = 0; i < data.validation_batches(); ++i) {
    for (const int64_t target : data.Validation(i).targets) {
      sum -= std::log(static_cast<double>(counts[static_cast<size_t>(target)] + 1) / total);
      ++targets;
    }
  }
  return targets == 0 ? std::numeric_limits<double>::quiet_NaN() : sum / static_cast<double>(targets);
}

double Mean(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

class Solo {
 public:
  Solo(const SoloOptions& options, std::unique_ptr<Model> model, std::unique_ptr<DataSource> training,
       std::vector<std::unique_ptr<DataSource>> evaluation)
      : options_(options), model_(std::move(model)), training_(std::move(training)), evaluation_(std::move(evaluation)) {}

  absl::StatusOr<SoloResult> Run() {
    theta_ = options_.initial_theta;
    SoloResult result;
    TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<double> first, Evaluate());
    result.val_loss_first = Mean(first);
    TRIBUTARY_RETURN_IF_ERROR(Train(result));
    TRIBUTARY_ASSIGN_OR_RETURN(result.val_loss_last_by_folder, Evaluate());
    result.val_loss_last = Mean(result.val_loss_last_by_folder);
    const std::vector<uint64_t> counts = training_->TrainingTargetCounts();
    std::vector<double> unigram;
    for (const auto& data : evaluation_) {
      unigram.push_back(UnigramLoss(counts, *data));
    }
    result.unigram_loss = Mean(unigram);
    result.theta = std::move(theta_);
    return result;
  }

 private:
  absl::StatusOr<std::vector<double>> Evaluate() {
    std::vector<double> losses;
    for (const auto& data : evaluation_) {
      TRIBUTARY_ASSIGN_OR_RETURN(const Evaluation evaluation, worker::Evaluate(*model_, *data, theta_, {}));
      losses.push_back(evaluation.loss);
    }
    return losses;
  }

  absl::Status Train(SoloResult& result) {
    const TrainerOptions& trainer = options_.trainer;
    optim::OptimizerOptions optimizer = trainer.optimizer;
    optimizer.learning_rate.peak = options_.learning_rate;
    std::vector<float> gradient(theta_.size()), m(theta_.size()), v(theta_.size());
    for (uint64_t round = 1; round <= optimizer.rounds; ++round) {
      const float learning_rate = optim::LearningRate(optimizer.learning_rate, round, optimizer.rounds);
      double loss_sum = 0;
      LocalSteps steps(optimizer, {.round = round, .local_steps = std::max<uint32_t>(1, optimizer.local_steps)}, trainer.most_local_steps,
                       trainer.clock);
      while (steps.Next()) {
        CounterRng rng = BatchRng(trainer, round, steps.taken() - 1);
        TRIBUTARY_ASSIGN_OR_RETURN(
            const double loss, model_->LossAndGradient(theta_, training_->DrawTraining(rng, trainer.batch_size), absl::MakeSpan(gradient)));
        if (!std::isfinite(optim::ClipNorm(optimizer.clip_norm, absl::MakeSpan(gradient)))) {
          return absl::FailedPreconditionError(absl::StrCat("training alone diverged in round ", round, " (loss ", loss,
                                                            "): try a learning rate below ", options_.learning_rate));
        }
        optim::AdamWStep(optimizer.adam, learning_rate, optimizer.weight_decay, ++result.steps, gradient, absl::MakeSpan(m),
                         absl::MakeSpan(v), absl::MakeSpan(theta_));
        loss_sum += loss;
      }
      result.train_loss_last = loss_sum / steps.taken();
      if (options_.progress) {
        options_.progress(round, result.train_loss_last);
      }
    }
    return absl::OkStatus();
  }

  const SoloOptions& options_;
  const std::unique_ptr<Model> model_;
  const std::unique_ptr<DataSource> training_;
  const std::vector<std::unique_ptr<DataSource>> evaluation_;
  std::vector<float> theta_;
};

}  // namespace

absl::StatusOr<SoloResult> RunSolo(const SoloOptions& options, const optim::Layout& layout) {
  if (options.evaluation_folders.empty()) {
    return absl::InvalidArgumentError("name at least one folder to evaluate on");
  }
  if (static_cast<int64_t>(options.initial_theta.size()) != layout.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("initial weights: ", options.initial_theta.size(), " values where the model has ", layout.size()));
  }
  TRIBUTARY_ASSIGN_OR_RETURN(std::unique_ptr<Model> model, OpenModel(options.trainer, layout));
  TRIBUTARY_ASSIGN_OR_RETURN(std::unique_ptr<DataSource> training, OpenData(options.trainer, options.trainer.data_folder));
  std::vector<std::unique_ptr<DataSource>> evaluation;
  for (const std::string& folder : options.evaluation_folders) {
    TRIBUTARY_ASSIGN_OR_RETURN(std::unique_ptr<DataSource> data, OpenData(options.trainer, folder));
    evaluation.push_back(std::move(data));
  }
  return Solo(options, std::move(model), std::move(training), std::move(evaluation)).Run();
}

}  // namespace tributary::worker
