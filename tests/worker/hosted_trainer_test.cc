#include "worker/hosted_trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

namespace tributary::worker {
namespace {

using ::testing::HasSubstr;

std::vector<optim::Block> Blocks() {
  return {{.name = "weight", .shape = {2, 3}}, {.name = "bias", .shape = {2}}};
}

class HostedTrainerTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<Trainer>> Make(const std::vector<optim::Block>& run) {
    return work_.Factory()(TrainerOptions{}, *optim::Layout::Create(run));
  }
  std::string Refusal(const std::vector<optim::Block>& run) { return std::string(Make(run).status().message()); }

  HostedWork work_{Blocks(), HostedWork::Frozen::kKnown, 40};
};

TEST_F(HostedTrainerTest, TheHostDoesWhatTheWorkerAsks) {
  const std::unique_ptr<Trainer> trainer = *Make({Blocks()[1], Blocks()[0]});
  EXPECT_EQ(trainer->training_samples(), 40u);
  EXPECT_EQ(work_.layout().blocks()[0].name, "bias") << "the run's order";
  std::vector<float> theta(8, 1.0f);
  std::vector<float> direction(8);
  absl::StatusOr<StepResult> step;
  absl::StatusOr<Evaluation> loss;
  std::thread worker([&] {
    step = trainer->ComputeDirection({.round = 7}, theta, absl::MakeSpan(direction));
    loss = trainer->Evaluate(theta);
  });
  const std::optional<HostedWork::Work> first = work_.Next(absl::InfiniteDuration());
  const auto& train = std::get<HostedWork::Train>(*first);
  EXPECT_EQ(train.parameters.round, 7u);
  EXPECT_FALSE(work_.Next(absl::ZeroDuration()).has_value()) << "what is taken does not come again";
  train.direction[5] = train.theta[5] + 1;
  work_.Answer(Evaluation{0.25, {}});
  const std::optional<HostedWork::Work> second = work_.Next(absl::InfiniteDuration());
  EXPECT_EQ(std::get<HostedWork::Evaluate>(*second).theta.data(), theta.data());
  work_.Answer(absl::UnimplementedError("none"));
  worker.join();
  EXPECT_EQ(step->train_loss, 0.25f);
  EXPECT_EQ(direction[5], 2.0f);
  EXPECT_EQ(loss.status().code(), absl::StatusCode::kUnimplemented);
}

TEST_F(HostedTrainerTest, AnotherModelIsRefusedByTheFirstTensorThatDiffers) {
  EXPECT_THAT(Refusal({Blocks()[0]}), HasSubstr("this program's model has a tensor 'bias', and the run's has none"));
  EXPECT_THAT(Refusal({Blocks()[0], Blocks()[1], {.name = "more", .shape = {}}}), HasSubstr("the run's model has a tensor 'more'"));
  EXPECT_THAT(Refusal({{.name = "weight", .shape = {3, 2}}, Blocks()[1]}),
              HasSubstr("tensor 'weight' has the shape [3, 2] in the run, and [2, 3] in this program's model"));
  EXPECT_THAT(Refusal({{.name = "weight", .shape = {2, 3}, .frozen = true}, Blocks()[1]}),
              HasSubstr("tensor 'weight' is frozen in the run, and trained in this program's model"));
}

TEST_F(HostedTrainerTest, AHostThatLeavesKeepsNobodyWaiting) {
  const std::unique_ptr<Trainer> trainer = *Make(Blocks());
  std::vector<float> theta(8);
  absl::StatusOr<Evaluation> waiting;
  std::thread worker([&] { waiting = trainer->Evaluate(theta); });
  work_.Close(absl::CancelledError("the program has ended"));
  worker.join();
  EXPECT_EQ(waiting.status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(trainer->Evaluate(theta).status().code(), absl::StatusCode::kCancelled);
}

TEST_F(HostedTrainerTest, WhatTheHostHasTakenIsItsOwnUntilItAnswers) {
  const std::unique_ptr<Trainer> trainer = *Make(Blocks());
  std::vector<float> theta(8);
  std::vector<float> direction(8);
  absl::StatusOr<StepResult> step;
  std::thread worker([&] { step = trainer->ComputeDirection({}, theta, absl::MakeSpan(direction)); });
  const std::optional<HostedWork::Work> taken = work_.Next(absl::InfiniteDuration());
  work_.Close(absl::CancelledError("the program has ended"));
  std::get<HostedWork::Train>(*taken).direction[0] = 3;  // still there
  work_.Answer(Evaluation{1.0, {}});
  worker.join();
  EXPECT_TRUE(step.ok());
}

}  // namespace
}  // namespace tributary::worker
