#include "sim/synthetic_trainer.h"

#include <algorithm>
#include <bit>
#include <memory>
#include <utility>

#include "sim/world.h"
#include "worker/local_steps.h"
#include "worker/trainer.h"

namespace tributary::sim {
namespace {

// Pulls the parameters towards a point of the site's own, with noise.
class SyntheticTrainer final : public worker::Trainer {
 public:
  SyntheticTrainer(const worker::TrainerOptions& options, Mischief* mischief)
      : options_(options), mischief_(mischief), seed_(options.seed) {
    for (const char c : options.site) {
      seed_ = (seed_ ^ static_cast<unsigned char>(c)) * 0x100000001b3;
    }
  }

  absl::StatusOr<worker::StepResult> ComputeDirection(const optim::RoundParameters& parameters, absl::Span<const float> theta,
                                                      absl::Span<float> direction) override {
    if (std::exchange(mischief_->flip_bit, false)) {
      // What a failing memory does to a replica: the parameters are the replica's own, not const where they live.
      float& value = const_cast<float&>(theta[theta.size() / 2]);
      value = std::bit_cast<float>(std::bit_cast<uint32_t>(value) ^ 0x00400000u);
    }
    const uint32_t steps = StepsIn(parameters);
    Random random(seed_ ^ (parameters.round * 0x9e3779b97f4a7c15 + steps));
    float loss = 0;
    for (size_t i = 0; i < theta.size(); ++i) {
      const auto bits = static_cast<int32_t>(random.Next() >> 32);
      const float noise = static_cast<float>(bits) * 0x1p-31f;
      direction[i] = 0.5f * theta[i] + noise;
      loss += theta[i] * theta[i];
    }
    return worker::StepResult{.train_loss = loss, .compute_seconds = 0.5f, .local_steps = steps};
  }

  // Sites differ in what they have, for runs that weigh by it.
  uint64_t training_samples() const override { return 1 + seed_ % 1000; }

  absl::StatusOr<worker::Evaluation> Evaluate(absl::Span<const float> theta) override {
    worker::Evaluation evaluation;
    for (const float value : theta) {
      evaluation.loss += static_cast<double>(value) * value;
    }
    evaluation.metrics["accuracy"] = 1 / (1 + evaluation.loss);
    return evaluation;
  }

 private:
  uint32_t StepsIn(const optim::RoundParameters& parameters) const {
    worker::LocalSteps steps(options_.optimizer, parameters, options_.most_local_steps, options_.clock);
    while (steps.Next()) {
    }
    if (!optim::StepsAreTimed(options_.optimizer)) {
      return parameters.local_steps;
    }
    // No machine is as fast in every round.
    const auto slower = static_cast<uint32_t>((seed_ ^ parameters.round * 0x9e3779b97f4a7c15) >> 40) % (steps.taken() / 2 + 1);
    return std::max(optim::kLeastTimedSteps, steps.taken() - slower);
  }

  const worker::TrainerOptions options_;
  Mischief* const mischief_;
  uint64_t seed_;
};

}  // namespace

worker::TrainerFactory SyntheticTrainers(Mischief* mischief) {
  return [mischief](const worker::TrainerOptions& options, const optim::Layout&) -> absl::StatusOr<std::unique_ptr<worker::Trainer>> {
    return std::make_unique<SyntheticTrainer>(options, mischief);
  };
}

}  // namespace tributary::sim
