// The trainer and encoder of a site, round by round, as often killed as a test wants.
#ifndef TRIBUTARY_TESTS_WORKER_TRAINING_SITE_H_
#define TRIBUTARY_TESTS_WORKER_TRAINING_SITE_H_

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/bytes.h"
#include "common/checksum.h"
#include "common/clock.h"
#include "common/file_store.h"
#include "optim/model_spec.h"
#include "proto/config/run_options.h"
#include "proto/config/yaml.h"
#include "tests/common/test_folder.h"
#include "tests/worker/engine_driver.h"
#include "worker/training_run.h"

namespace tributary::worker {

inline constexpr absl::string_view kModes[] = {"distro", "local", "demo", "allreduce", "diloco", "signsgd"};
inline constexpr uint64_t kRounds = 6;

// A trainer with a memory, as the inner optimiser has one.
class RememberingTrainer final : public Trainer {
 public:
  absl::StatusOr<StepResult> ComputeDirection(const optim::RoundParameters& parameters, absl::Span<const float> theta,
                                              absl::Span<float> direction) override {
    memory_ = 0.5f * memory_ + static_cast<float>(parameters.round);
    for (size_t i = 0; i < theta.size(); ++i) {
      direction[i] = 0.1f * static_cast<float>(std::sin(static_cast<double>(memory_) * 31 + static_cast<double>(i)));
    }
    if (fail) {
      return absl::FailedPreconditionError("not finite");
    }
    return StepResult{.train_loss = 1.5f, .compute_seconds = 0};
  }
  absl::StatusOr<Evaluation> Evaluate(absl::Span<const float>) override { return Evaluation{2.5, {}}; }
  std::string SaveState() const override { return std::string(reinterpret_cast<const char*>(&memory_), sizeof(memory_)); }
  absl::Status RestoreState(absl::string_view state) override {
    return ByteReader(state).Read(memory_) ? absl::OkStatus() : absl::DataLossError("too short");
  }

  static inline bool fail = false;

 private:
  float memory_ = 0;
};

// The trainer and encoder of a site, round by round, as often killed as the test wants.
class Site {
 public:
  // `hidden`: the width of the model's hidden layer, which has 4 parameters for each of it.
  Site(absl::string_view mode, const std::string& directory, v1::Persist persist = v1::EVERY_ROUND, int hidden = 3)
      : directory_(directory), persist_(persist) {
    offer_.set_run_id("run-1");
    const std::string yaml = absl::StrCat("name: bible-1\nrounds: 10\nmodel: {mlp: {inputs: 2, hidden: [", hidden,
                                          "], outputs: 2}}\n"
                                          "data: {kind: csv, label_column: y}\noptimizer: {mode: ",
                                          mode, ", learning_rate: {peak: 0.01}}\n");
    const absl::Status parsed = ParseYaml(yaml, "run.yaml", offer_.mutable_spec());
    EXPECT_TRUE(parsed.ok()) << parsed;
    const optim::Layout layout = *optim::MakeLayout(*ModelSpecOf(offer_.spec()));
    offer_.set_layout_hash(DigestBytes(layout.hash()));
    Start();
  }

  // As after kill -9: what was in memory is gone. Returns what the file says is pending.
  std::optional<PendingUpdate> Start() {
    run_.reset();
    store_ = OpenFolder(directory_, 0600).value();
    v1::WorkerConfig config;
    config.set_site("berlin");
    config.set_threads(1);
    config.set_persist(persist_);
    run_ = TrainingRun::Create(
               config, offer_,
               {.make_trainer = [](const TrainerOptions&, const optim::Layout&) { return std::make_unique<RememberingTrainer>(); },
                .clock = &clock_,
                .store = store_.get()})
               .value();
    EXPECT_TRUE(run_->InitializeFromSeed().ok());
    return run_->TakePending();
  }

  absl::StatusOr<TrainedUpdate> Train(uint64_t round, std::string base = "") {
    v1::RoundStart start;
    start.set_round(round);
    start.set_learning_rate(0.01f);
    start.set_local_steps(2);
    start.set_base_state_hash(base.empty() ? HashOf(round - 1) : base);
    return run_->Train(start);
  }
  void Settle(UpdateFate fate) { run_->Settle(fate); }
  // A stop that was asked for.
  absl::Status Keep() { return run_->Keep(); }
  // Copies take no time on this clock: once any has passed, one is due.
  void Pass() { clock_.Advance(absl::Hours(1)); }

 private:
  const std::string directory_;
  const v1::Persist persist_;
  SimulatedClock clock_;
  v1::RunOffer offer_;
  std::unique_ptr<FileStore> store_;
  std::unique_ptr<TrainingRun> run_;
};

// Every third round's update is not included.
inline UpdateFate FateOf(uint64_t round) {
  return round % 3 != 0 ? UpdateFate::kIncluded : UpdateFate::kNotIncluded;
}

inline std::vector<std::string> Undisturbed(absl::string_view mode) {
  const TestFolder directory;
  Site site(mode, directory.path());
  std::vector<std::string> payloads;
  for (uint64_t round = 1; round <= kRounds; ++round) {
    payloads.push_back(*site.Train(round)->payload);
    site.Settle(FateOf(round));
  }
  return payloads;
}

}  // namespace tributary::worker

#endif  // TRIBUTARY_TESTS_WORKER_TRAINING_SITE_H_
