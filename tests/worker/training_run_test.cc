// What TrainingRun does with an encoder and a trainer of the test's own. Over restarts, with those of the modes: saved_state_test.cc.
#include "worker/training_run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/checksum.h"
#include "common/exit_codes.h"
#include "common/file_store.h"
#include "optim/layout.h"
#include "proto/config/run_options.h"
#include "tests/common/test_folder.h"
#include "tests/worker/engine_driver.h"
#include "worker/refusal.h"

namespace tributary::worker {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr float kDirection = 0.25f;

// What the encoders of one test were asked.
struct Asked {
  int made = 0;
  int threads = 0;
  std::vector<float> direction;
  std::vector<bool> included;
};

class AskedEncoder final : public optim::UpdateEncoder {
 public:
  explicit AskedEncoder(Asked* asked) : asked_(asked) {}

  absl::StatusOr<std::string> Encode(const optim::RoundParameters& parameters, absl::Span<const float> direction) override {
    asked_->direction.assign(direction.begin(), direction.end());
    return absl::StrCat("update of round ", parameters.round);
  }
  void Settle(optim::UpdateFate fate) override { asked_->included.push_back(fate == optim::UpdateFate::kIncluded); }
  double ResidualNorm() const override { return 0; }
  std::string SaveState() const override { return "residual"; }
  absl::Status RestoreState(absl::string_view state) override {
    return state == "residual" ? absl::OkStatus() : absl::DataLossError("another state");
  }

 private:
  Asked* const asked_;
};

class ConstantTrainer final : public Trainer {
 public:
  absl::StatusOr<StepResult> ComputeDirection(const optim::RoundParameters&, absl::Span<const float>,
                                              absl::Span<float> direction) override {
    std::fill(direction.begin(), direction.end(), kDirection);
    return StepResult{.train_loss = 1, .compute_seconds = seconds, .local_steps = taken};
  }
  absl::StatusOr<Evaluation> Evaluate(absl::Span<const float>) override { return Evaluation{2, {}}; }
  std::string SaveState() const override { return "moments"; }
  absl::Status RestoreState(absl::string_view) override {
    return restores ? absl::OkStatus() : absl::DataLossError("moments of another model");
  }

  static inline bool restores = true;
  static inline uint32_t taken = 0;
  static inline float seconds = 0;
};

class TrainingRunTest : public ::testing::Test {
 protected:
  TrainingRunTest() {
    offer_.set_run_id("run-1");
    *offer_.mutable_spec() = MakeSpec();
    offer_.set_layout_hash(DigestBytes(optim::MakeLayout(*ModelSpecOf(offer_.spec()))->hash()));
  }
  ~TrainingRunTest() override {
    ConstantTrainer::restores = true;
    ConstantTrainer::taken = 0;
    ConstantTrainer::seconds = 0;
  }

  // Sites count their steps by time.
  void UseTimedSteps() {
    v1::OptimizerSpec& optimizer = *offer_.mutable_spec()->mutable_optimizer();
    optimizer.set_mode(v1::OptimizerSpec::LOCAL);
    optimizer.set_local_steps(0);
    optimizer.mutable_local_time()->set_seconds(30);
  }

  absl::StatusOr<std::unique_ptr<TrainingRun>> Create(FileStore* store = nullptr) {
    v1::WorkerConfig config;
    config.set_site("berlin");
    config.set_threads(1);
    config.set_persist(v1::EVERY_ROUND);
    config.mutable_consent()->set_min_samples(min_samples_);
    TrainingRun::Dependencies dependencies;
    dependencies.make_trainer = [](const TrainerOptions&, const optim::Layout&) { return std::make_unique<ConstantTrainer>(); };
    dependencies.make_encoder = [this](const optim::OptimizerOptions& options, const optim::Layout&,
                                       int threads) -> absl::StatusOr<std::unique_ptr<optim::UpdateEncoder>> {
      EXPECT_EQ(options.mode, OptimizerOptionsOf(offer_.spec())->mode);
      if (!encoder_status_.ok()) {
        return encoder_status_;
      }
      ++asked_.made;
      asked_.threads = threads;
      return std::make_unique<AskedEncoder>(&asked_);
    };
    dependencies.store = store;
    dependencies.memory = memory_;
    return TrainingRun::Create(config, offer_, std::move(dependencies));
  }

  static absl::StatusOr<TrainedUpdate> Train(TrainingRun& run, uint64_t round, uint32_t local_steps = 1) {
    v1::RoundStart start;
    start.set_round(round);
    start.set_learning_rate(0.01f);
    start.set_local_steps(local_steps);
    return run.Train(start);
  }

  v1::RunOffer offer_;
  absl::Status encoder_status_;
  std::function<absl::StatusOr<MemoryLimits>()> memory_ = [] { return ReadMemoryLimits(); };
  uint64_t min_samples_ = 1;
  Asked asked_;
};

TEST_F(TrainingRunTest, ASiteWithFewerSamplesThanItsConsentAsksForRefusesWithoutSayingHowMany) {
  min_samples_ = 32;
  const absl::Status refused = Create().status();
  EXPECT_EQ(ExitCodeOf(refused), ExitCode::kConsent);
  EXPECT_THAT(std::string(refused.message()), ::testing::HasSubstr("this site has 1 samples to train on"));
  EXPECT_EQ(RefusalOf(refused), "consent.min_samples of this site allows no run on as little data as it has");
}

TEST_F(TrainingRunTest, WhatIsSentIsWhatTheEncoderMakesOfTheTrainersDirection) {
  const std::unique_ptr<TrainingRun> run = Create().value();
  EXPECT_EQ(asked_.made, 1);
  EXPECT_EQ(asked_.threads, 1);
  ASSERT_TRUE(run->InitializeFromSeed().ok());
  const absl::StatusOr<TrainedUpdate> update = Train(*run, 1);
  ASSERT_TRUE(update.ok()) << update.status();
  EXPECT_EQ(asked_.direction.size(), 17u) << "(2 + 1) * 3 + (3 + 1) * 2";
  EXPECT_THAT(asked_.direction, Each(kDirection));
  EXPECT_EQ(*update->payload, "update of round 1");
  EXPECT_EQ(update->sha256, DigestBytes(Sha256("update of round 1")));
}

TEST_F(TrainingRunTest, WhatASiteChangedInItsOwnNumberOfStepsIsScaledToThoseOfTheRound) {
  UseTimedSteps();
  const std::unique_ptr<TrainingRun> run = Create().value();
  ASSERT_TRUE(run->InitializeFromSeed().ok());
  ConstantTrainer::taken = 40;
  const absl::StatusOr<TrainedUpdate> slower = Train(*run, 1, 100);
  ASSERT_TRUE(slower.ok()) << slower.status();
  EXPECT_THAT(asked_.direction, Each(kDirection * 2.5f));
  EXPECT_EQ(slower->report.local_steps(), 40u);
  ConstantTrainer::taken = 100;
  EXPECT_EQ(Train(*run, 2, 100)->report.local_steps(), 100u);
  EXPECT_THAT(asked_.direction, Each(kDirection));
}

TEST_F(TrainingRunTest, ASiteWhoseFewestStepsDoNotFitIntoTheTimeIsToldOnce) {
  UseTimedSteps();
  const std::unique_ptr<TrainingRun> run = Create().value();
  ASSERT_TRUE(run->InitializeFromSeed().ok());
  const auto told = [&](uint64_t round, uint32_t taken, float seconds) {
    ConstantTrainer::taken = taken;
    ConstantTrainer::seconds = seconds;
    testing::internal::CaptureStderr();
    EXPECT_TRUE(Train(*run, round, 100).ok());
    return testing::internal::GetCapturedStderr();
  };
  EXPECT_THAT(told(1, 2, 29.5f), Not(HasSubstr("local_time")));
  EXPECT_THAT(told(2, 3, 31), Not(HasSubstr("local_time")));
  EXPECT_THAT(told(3, 2, 40.5f), HasSubstr("took 40.5s, more than optimizer.local_time (30s)"));
  EXPECT_THAT(told(4, 2, 40.5f), Not(HasSubstr("local_time")));
}

// Once, and to what the round was told to be when it was computed.
TEST_F(TrainingRunTest, WhatIsComputedAheadIsScaledAsWell) {
  UseTimedSteps();
  offer_.mutable_spec()->set_pipeline(1);
  const std::unique_ptr<TrainingRun> run = Create().value();
  const ReplicaPosition held = run->InitializeFromSeed().value();
  v1::RoundStart start;
  start.set_round(1);
  start.set_learning_rate(0.01f);
  start.set_local_steps(10);
  start.set_base_state_hash(held.hash);
  ConstantTrainer::taken = 5;
  run->ComputeAhead(start);
  ConstantTrainer::taken = 1000;
  EXPECT_EQ(run->Train(start)->report.local_steps(), 5u);
  EXPECT_THAT(asked_.direction, Each(kDirection * 2));
}

TEST_F(TrainingRunTest, ARunThatSaysHowManyStepsScalesNothingAndReportsNone) {
  const std::unique_ptr<TrainingRun> run = Create().value();
  ASSERT_TRUE(run->InitializeFromSeed().ok());
  ConstantTrainer::taken = 40;
  EXPECT_EQ(Train(*run, 1)->report.local_steps(), 0u);
  EXPECT_THAT(asked_.direction, Each(kDirection));
}

TEST_F(TrainingRunTest, TheFateOfEveryUpdateReachesTheEncoder) {
  const std::unique_ptr<TrainingRun> run = Create().value();
  run->Settle(UpdateFate::kIncluded);
  run->Settle(UpdateFate::kNotIncluded);
  EXPECT_THAT(asked_.included, ElementsAre(true, false));
}

TEST_F(TrainingRunTest, AnEncoderThatCannotBeMadeIsAnErrorOfTheRun) {
  encoder_status_ = absl::UnavailableError("no such device");
  EXPECT_EQ(Create().status(), encoder_status_);
}

TEST_F(TrainingRunTest, ARunThatDoesNotFitIntoMemoryIsRefusedBeforeAnythingIsMade) {
  memory_ = [] { return MemoryLimits{1000, 100, "a test"}; };
  const absl::Status refused = Create().status();
  EXPECT_EQ(ExitCodeOf(refused), ExitCode::kMemory);
  EXPECT_EQ(asked_.made, 0);
  EXPECT_THAT(RefusalOf(refused), ::testing::HasSubstr("the run needs, at this site, "));
  EXPECT_THAT(RefusalOf(refused), ::testing::HasSubstr("100 B of 1000 B are available (a test)"));
  memory_ = [] { return absl::UnavailableError("no /proc"); };
  EXPECT_TRUE(Create().ok());
}

TEST_F(TrainingRunTest, WhatTheTrainerCannotRestoreTheEncoderForgetsToo) {
  const TestFolder directory;
  const std::unique_ptr<FileStore> store = OpenFolder(directory.path(), 0600).value();
  {
    const std::unique_ptr<TrainingRun> run = Create(store.get()).value();
    ASSERT_TRUE(run->InitializeFromSeed().ok());
    ASSERT_TRUE(Train(*run, 1).ok());
  }
  asked_ = {};
  ConstantTrainer::restores = false;
  const std::unique_ptr<TrainingRun> run = Create(store.get()).value();
  EXPECT_EQ(asked_.made, 2) << "the first has the old residual";
  EXPECT_FALSE(run->TakePending().has_value());
}

}  // namespace
}  // namespace tributary::worker
