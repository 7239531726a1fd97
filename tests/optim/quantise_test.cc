#include "optim/quantise.h"

#include <vector>

#include "gtest/gtest.h"
#include "tests/optim/random_updates.h"

namespace tributary::optim {
namespace {

TEST(QuantiseTest, OneBitStepIsTheMeanMagnitude) {
  const std::vector<float> values = {1.0f, -2.0f, 3.0f};
  EXPECT_EQ(ChooseStep(1, absl::MakeConstSpan(values)), 2.0);
}

TEST(QuantiseTest, StepOfNothingIsZero) {
  EXPECT_EQ(ChooseStep(4, absl::Span<const float>()), 0.0);
}

TEST(QuantiseTest, LevelsAreRepresentedExactly) {
  for (const uint32_t bits : {2u, 4u, 8u}) {
    std::vector<float> values;
    for (int32_t level = 1; level <= MaxLevel(bits); ++level) {
      values.push_back(0.25f * static_cast<float>(level % 2 ? level : -level));
    }
    const double step = ChooseStep(bits, absl::MakeConstSpan(values));
    EXPECT_DOUBLE_EQ(step, 0.25) << bits;
    for (const float value : values) {
      EXPECT_EQ(LevelOf(value, step, MaxLevel(bits)) * step, value);
    }
  }
}

TEST(QuantiseTest, RoundsToTheNearestLevelAndHalvesAwayFromZero) {
  EXPECT_EQ(LevelOf(0.49, 1.0, 8), 0);
  EXPECT_EQ(LevelOf(0.5, 1.0, 8), 1);
  EXPECT_EQ(LevelOf(-0.5, 1.0, 8), -1);
  EXPECT_EQ(LevelOf(-2.4, 1.0, 8), -2);
  EXPECT_EQ(LevelOf(1e30, 1.0, 8), 8);
  EXPECT_EQ(LevelOf(int64_t{4}, int64_t{10}, 8), 0);
  EXPECT_EQ(LevelOf(int64_t{5}, int64_t{10}, 8), 1);
  EXPECT_EQ(LevelOf(int64_t{-1000}, int64_t{10}, 8), -8);
}

TEST(QuantiseTest, ALoneOutlierDoesNotDrownTheOthers) {
  std::vector<float> values(1000, 1.0f);
  values[0] = 30.0f;
  const double step = ChooseStep(2, absl::MakeConstSpan(values));
  EXPECT_NE(LevelOf(1.0, step, MaxLevel(2)), 0);
}

TEST(QuantiseTest, MoreBitsNeverFitWorse) {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    Dice dice(seed);
    std::vector<float> values = RandomFloats(dice, 500);
    double last = 1e30;
    for (const uint32_t bits : {1u, 2u, 4u, 8u}) {
      const double step = ChooseStep(bits, absl::MakeConstSpan(values));
      double error = 0;
      for (const float value : values) {
        error += std::pow(value - step * LevelOf(value, step, MaxLevel(bits)), 2);
      }
      EXPECT_LE(error, last) << "seed " << seed << ", bits " << bits;
      last = error;
    }
  }
}

}  // namespace
}  // namespace tributary::optim
