#include "optim/options.h"

#include <cmath>
#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tributary::optim {
namespace {

using ::testing::HasSubstr;

constexpr Mode kAllModes[] = {Mode::kAllReduce, Mode::kDemo, Mode::kDistro, Mode::kLocal, Mode::kFedAvg, Mode::kDiLoCo, Mode::kSignSgd};

ScheduleOptions Schedule(ScheduleKind kind, uint64_t warmup) {
  ScheduleOptions schedule;
  schedule.kind = kind;
  schedule.peak = 1;
  schedule.warmup_rounds = warmup;
  return schedule;
}

TEST(ScheduleTest, WarmsUpLinearlyFromTheFirstRound) {
  for (ScheduleKind kind : {ScheduleKind::kConstant, ScheduleKind::kLinear, ScheduleKind::kCosine, ScheduleKind::kWarmupStableDecay}) {
    EXPECT_FLOAT_EQ(LearningRate(Schedule(kind, 10), 1, 100), 0.1f);
    EXPECT_FLOAT_EQ(LearningRate(Schedule(kind, 10), 5, 100), 0.5f);
    EXPECT_FLOAT_EQ(LearningRate(Schedule(kind, 10), 10, 100), 1.0f);
  }
}

TEST(ScheduleTest, EndsAtTheFinalRatioAndStaysThere) {
  for (ScheduleKind kind : {ScheduleKind::kLinear, ScheduleKind::kCosine, ScheduleKind::kWarmupStableDecay}) {
    EXPECT_FLOAT_EQ(LearningRate(Schedule(kind, 10), 100, 100), 0.1f);
    EXPECT_FLOAT_EQ(LearningRate(Schedule(kind, 10), 101, 100), 0.1f);
    EXPECT_FLOAT_EQ(LearningRate(Schedule(kind, 10), std::numeric_limits<uint64_t>::max(), 100), 0.1f);
  }
  EXPECT_FLOAT_EQ(LearningRate(Schedule(ScheduleKind::kConstant, 10), 1000, 100), 1.0f);
}

TEST(ScheduleTest, IsAtItsHalfWayPointHalfWay) {
  EXPECT_FLOAT_EQ(LearningRate(Schedule(ScheduleKind::kCosine, 0), 50, 100), 0.55f);
  EXPECT_FLOAT_EQ(LearningRate(Schedule(ScheduleKind::kLinear, 0), 50, 100), 0.55f);
  EXPECT_FLOAT_EQ(LearningRate(Schedule(ScheduleKind::kWarmupStableDecay, 0), 80, 100), 1.0f);
  EXPECT_FLOAT_EQ(LearningRate(Schedule(ScheduleKind::kWarmupStableDecay, 0), 90, 100), 0.55f);
}

TEST(ScheduleTest, NeverRisesAfterTheWarmUp) {
  for (ScheduleKind kind : {ScheduleKind::kConstant, ScheduleKind::kLinear, ScheduleKind::kCosine, ScheduleKind::kWarmupStableDecay}) {
    for (uint64_t rounds : {1u, 2u, 7u, 50u}) {
      for (uint64_t warmup : {0u, 1u, 5u, 60u}) {
        for (uint64_t round = 1; round < 80; ++round) {
          const float rate = LearningRate(Schedule(kind, warmup), round, rounds);
          ASSERT_TRUE(rate > 0 && rate <= 1) << rate;
          if (round >= warmup) {
            ASSERT_LE(LearningRate(Schedule(kind, warmup), round + 1, rounds), rate);
          }
        }
      }
    }
  }
}

TEST(OptionsTest, TheDefaultsOfEveryModeAreValid) {
  for (Mode mode : kAllModes) {
    EXPECT_EQ(Defaults(mode).mode, mode);
    EXPECT_TRUE(Validate(Defaults(mode)).ok()) << ModeName(mode) << ": " << Validate(Defaults(mode));
  }
}

TEST(OptionsTest, ModesHaveTheNamesOfTheRunFile) {
  EXPECT_EQ(ModeName(Mode::kAllReduce), "allreduce");
  EXPECT_EQ(ModeName(Mode::kDemo), "demo");
  EXPECT_EQ(ModeName(Mode::kDistro), "distro");
  EXPECT_EQ(ModeName(Mode::kLocal), "local");
  EXPECT_EQ(ModeName(Mode::kFedAvg), "fedavg");
  EXPECT_EQ(ModeName(Mode::kDiLoCo), "diloco");
  EXPECT_EQ(ModeName(Mode::kSignSgd), "signsgd");
}

// Defaults with one field changed, and what the refusal must say.
template <typename Field, typename Value>
void ExpectRefused(Mode mode, Field OptimizerOptions::*field, Value value, absl::string_view message) {
  OptimizerOptions options = Defaults(mode);
  options.*field = static_cast<Field>(value);
  const absl::Status status = Validate(options);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr(std::string(message)));
}

TEST(OptionsTest, ARefusalNamesTheFieldTheValueAndWhatIsAllowed) {
  ExpectRefused(Mode::kDistro, &OptimizerOptions::k, 5000, "k is 5000; allowed: 1 to 4096");
  ExpectRefused(Mode::kDemo, &OptimizerOptions::k, 0, "k is 0");
  ExpectRefused(Mode::kDistro, &OptimizerOptions::value_bits, 3, "value_bits is 3; allowed: 1, 2, 4 or 8");
  ExpectRefused(Mode::kLocal, &OptimizerOptions::commit_value_bits, 16, "commit_value_bits is 16");
  ExpectRefused(Mode::kDistro, &OptimizerOptions::commit_k, 4097, "commit_k is 4097; allowed: 0 to 4096");
  ExpectRefused(Mode::kDistro, &OptimizerOptions::beta, 1.5, "beta is 1.5; allowed: 0 to 1");
  ExpectRefused(Mode::kDistro, &OptimizerOptions::beta, std::nanf(""), "beta is nan");
  ExpectRefused(Mode::kAllReduce, &OptimizerOptions::clip_norm, -1, "clip_norm is -1");
  ExpectRefused(Mode::kAllReduce, &OptimizerOptions::norm_bound, 0.5, "norm_bound is 0.5; allowed: 0 (no bound), or 1 to 1e6");
  ExpectRefused(Mode::kAllReduce, &OptimizerOptions::norm_bound, std::nanf(""), "norm_bound is nan");
  ExpectRefused(Mode::kAllReduce, &OptimizerOptions::weight_decay, 2, "weight_decay is 2");
  ExpectRefused(Mode::kAllReduce, &OptimizerOptions::rounds, 0, "rounds is 0");
  ExpectRefused(Mode::kLocal, &OptimizerOptions::local_steps, 0, "local_steps is 0");
  ExpectRefused(Mode::kFedAvg, &OptimizerOptions::outer_learning_rate, 0, "outer_learning_rate is 0; allowed: above 0");
  ExpectRefused(Mode::kDiLoCo, &OptimizerOptions::outer_momentum, 1, "outer_momentum is 1; allowed: 0 to below 1");
  ExpectRefused(Mode::kAllReduce, &OptimizerOptions::adam, (AdamOptions{1.0f, 0.95f, 1e-8f}), "adam_beta1 is 1");
  ExpectRefused(Mode::kAllReduce, &OptimizerOptions::adam, (AdamOptions{0.9f, 0.95f, 0.0f}), "adam_epsilon is 0");
  ScheduleOptions schedule;
  schedule.peak = std::numeric_limits<double>::infinity();
  ExpectRefused(Mode::kAllReduce, &OptimizerOptions::learning_rate, schedule, "learning_rate.peak is inf");
}

TEST(OptionsTest, FieldsThatAModeDoesNotReadAreNotChecked) {
  OptimizerOptions options = Defaults(Mode::kSignSgd);
  options.k = 0;
  options.value_bits = 77;
  options.adam.epsilon = 0;
  EXPECT_TRUE(Validate(options).ok());
}

TEST(OptionsTest, OnlyModesWithPseudoGradientsTakeLocalSteps) {
  for (Mode mode : kAllModes) {
    OptimizerOptions options = Defaults(mode);
    options.local_steps = 7;
    options.rounds = 10;
    const RoundParameters parameters = ParametersForRound(options, 3);
    EXPECT_EQ(parameters.round, 3u);
    EXPECT_EQ(parameters.learning_rate, LearningRate(options.learning_rate, 3, 10));
    EXPECT_EQ(parameters.local_steps, DirectionOf(mode) == Direction::kPseudoGradient ? 7u : 1u) << ModeName(mode);
  }
}

}  // namespace
}  // namespace tributary::optim
