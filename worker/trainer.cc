#include "worker/trainer.h"

#include <torch/version.h>

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/bytes.h"
#include "common/status_macros.h"
#include "optim/adamw.h"
#include "optim/sealed_state.h"
#include "worker/data/data_source.h"
#include "worker/evaluation.h"
#include "worker/local_steps.h"
#include "worker/models/model.h"

namespace tributary::worker {
namespace {

class LocalTrainer final : public Trainer {
 public:
  LocalTrainer(const TrainerOptions& options, const optim::Layout& layout, std::unique_ptr<DataSource> data, std::unique_ptr<Model> model)
      : options_(options), layout_(layout), data_(std::move(data)), model_(std::move(model)) {}

  absl::StatusOr<StepResult> ComputeDirection(const optim::RoundParameters& parameters, absl::Span<const float> theta,
                                              absl::Span<float> direction) override {
    const absl::Time start = options_.clock->Now();
    LocalSteps steps(options_.optimizer, parameters, options_.most_local_steps, options_.clock);
    absl::StatusOr<double> loss = optim::DirectionOf(options_.optimizer.mode) == optim::Direction::kGradient
                                      ? Gradient(parameters.round, theta, direction)
                                      : PseudoGradient(parameters, theta, steps, direction);
    if (!loss.ok()) {
      return Annotate(std::move(loss).status(), absl::StrCat("round ", parameters.round));
    }
    StepResult result;
    result.train_loss = static_cast<float>(*loss);
    result.local_steps = steps.taken();
    result.compute_seconds = static_cast<float>(absl::ToDoubleSeconds(options_.clock->Now() - start));
    return result;
  }

  DataDescription data() const override { return data_->description(); }

  uint64_t training_samples() const override { return data_->training_samples(); }

  absl::StatusOr<Evaluation> Evaluate(absl::Span<const float> theta) override {
    return worker::Evaluate(*model_, *data_, theta, options_.metrics);
  }

  // The inner steps taken, then m and v. Batches need no place to go on from: they are a function of the round.
  std::string SaveState() const override {
    if (inner_steps_ == 0) {
      return "";
    }
    std::string steps;
    AppendLittleEndian(inner_steps_, steps);
    return optim::SealState(kStateKind, layout_, {steps, AsBytes(absl::MakeConstSpan(m_)), AsBytes(absl::MakeConstSpan(v_))});
  }

  absl::Status RestoreState(absl::string_view state) override {
    if (state.empty()) {
      inner_steps_ = 0;
      m_.clear();
      v_.clear();
      return absl::OkStatus();
    }
    TRIBUTARY_ASSIGN_OR_RETURN(const absl::string_view body, optim::OpenState(kStateKind, layout_, state));
    const size_t elements = static_cast<size_t>(layout_.size());
    uint64_t steps = 0;
    ByteReader reader(body);
    if (!reader.Read(steps) || reader.rest().size() != 2 * elements * sizeof(float) || steps == 0) {
      return absl::DataLossError("saved trainer state: not the layout's size");
    }
    inner_steps_ = steps;
    m_.resize(elements);
    v_.resize(elements);
    std::copy_n(reader.rest().data(), elements * sizeof(float), reinterpret_cast<char*>(m_.data()));
    std::copy_n(reader.rest().data() + elements * sizeof(float), elements * sizeof(float), reinterpret_cast<char*>(v_.data()));
    return absl::OkStatus();
  }

 private:
  static constexpr absl::string_view kStateKind = "trainer, inner AdamW";

  absl::StatusOr<double> Gradient(uint64_t round, absl::Span<const float> theta, absl::Span<float> direction) {
    CounterRng rng = BatchRng(options_, round, 0);
    return model_->LossAndGradient(theta, data_->DrawTraining(rng, options_.batch_size), direction);
  }

  // `steps` of AdamW from theta; the direction is theta - theta_local. Returns the mean loss.
  absl::StatusOr<double> PseudoGradient(const optim::RoundParameters& parameters, absl::Span<const float> theta, LocalSteps& steps,
                                        absl::Span<float> direction) {
    local_.assign(theta.begin(), theta.end());
    gradient_.resize(theta.size());
    m_.resize(theta.size());
    v_.resize(theta.size());
    const optim::OptimizerOptions& optimizer = options_.optimizer;
    double loss_sum = 0;
    while (steps.Next()) {
      CounterRng rng = BatchRng(options_, parameters.round, steps.taken() - 1);
      TRIBUTARY_ASSIGN_OR_RETURN(const double loss,
                                 model_->LossAndGradient(local_, data_->DrawTraining(rng, options_.batch_size), absl::MakeSpan(gradient_)));
      if (!std::isfinite(optim::ClipNorm(optimizer.clip_norm, absl::MakeSpan(gradient_)))) {
        return absl::FailedPreconditionError(
            absl::StrCat("the gradient of local step ", steps.taken(), " is not finite (loss ", loss, "): a lower learning rate may help"));
      }
      optim::AdamWStep(optimizer.adam, parameters.learning_rate, optimizer.weight_decay, ++inner_steps_, gradient_, absl::MakeSpan(m_),
                       absl::MakeSpan(v_), absl::MakeSpan(local_));
      loss_sum += loss;
    }
    std::transform(theta.begin(), theta.end(), local_.begin(), direction.begin(), [](float before, float after) { return before - after; });
    return loss_sum / std::max<uint32_t>(1, steps.taken());
  }

  const TrainerOptions options_;
  const optim::Layout layout_;
  const std::unique_ptr<DataSource> data_;
  const std::unique_ptr<Model> model_;
  // Of the local steps; empty until the first.
  std::vector<float> local_, gradient_, m_, v_;
  uint64_t inner_steps_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Trainer>> Trainer::Create(const TrainerOptions& options, const optim::Layout& layout) {
  TRIBUTARY_ASSIGN_OR_RETURN(std::unique_ptr<Model> model, OpenModel(options, layout));
  TRIBUTARY_ASSIGN_OR_RETURN(std::unique_ptr<DataSource> data, OpenData(options, options.data_folder));
  return std::make_unique<LocalTrainer>(options, layout, std::move(data), std::move(model));
}

std::string LibTorchVersion() {
  return TORCH_VERSION;
}

}  // namespace tributary::worker
