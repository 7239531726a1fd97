#include "optim/adamw.h"

#include <cmath>
#include <limits>
#include <vector>

#include "common/checksum.h"
#include "gtest/gtest.h"

namespace tributary::optim {
namespace {

// Numbers over many magnitudes, the same on every machine: integers times powers of two.
std::vector<float> Numbers(size_t size, uint64_t seed, int exponent) {
  std::vector<float> values(size);
  uint64_t state = seed;
  for (float& value : values) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    value = std::ldexp(static_cast<float>(static_cast<int32_t>(state >> 40) - (1 << 23)), exponent - static_cast<int>((state >> 32) % 16));
  }
  return values;
}

struct Moments {
  std::vector<float> m, v, theta;
};

Moments RunSteps(size_t size, uint64_t steps) {
  Moments run{std::vector<float>(size), std::vector<float>(size), Numbers(size, 1, -24)};
  for (uint64_t step = 1; step <= steps; ++step) {
    const std::vector<float> gradient = Numbers(size, 100 + step, -26);
    AdamWStep(AdamOptions(), 1e-3f, 0.1f, step, gradient, absl::MakeSpan(run.m), absl::MakeSpan(run.v), absl::MakeSpan(run.theta));
  }
  return run;
}

TEST(AdamWTest, FollowsItsFormula) {
  constexpr size_t kSize = 37;
  const Moments run = RunSteps(kSize, 20);
  const AdamOptions options;
  const std::vector<float> start = Numbers(kSize, 1, -24);
  for (size_t i = 0; i < kSize; ++i) {
    double m = 0;
    double v = 0;
    double theta = start[i];
    for (int step = 1; step <= 20; ++step) {
      const double g = Numbers(kSize, 100 + step, -26)[i];
      m = options.beta1 * m + (1 - options.beta1) * g;
      v = options.beta2 * v + (1 - options.beta2) * g * g;
      theta = theta * (1 - 1e-3 * 0.1) -
              1e-3 * (m / (1 - std::pow(options.beta1, step))) / (std::sqrt(v / (1 - std::pow(options.beta2, step))) + options.epsilon);
    }
    EXPECT_NEAR(run.theta[i], theta, 2e-6 * std::abs(theta) + 2e-7);
    EXPECT_NEAR(run.m[i], m, 1e-5 * std::abs(m) + 1e-9);
    EXPECT_NEAR(run.v[i], v, 1e-5 * std::abs(v));
  }
}

// Replicas agree only if every compiler, level of optimisation and processor gives these bits.
TEST(AdamWTest, GivesItsPinnedBits) {
  const Moments run = RunSteps(10007, 50);
  Sha256Hasher hasher;
  for (const std::vector<float>* part : {&run.m, &run.v, &run.theta}) {
    hasher.Update({reinterpret_cast<const char*>(part->data()), part->size() * sizeof(float)});
  }
  EXPECT_EQ(DigestHex(hasher.Finish()), "a6d8b8ac4a997b740e4c96257d35d82eb03f1c4266ffcdc1ec2067ef5893e507");
}

TEST(AdamWTest, AnElementDoesNotDependOnItsNeighboursNorOnItsPlace) {
  const Moments whole = RunSteps(1000, 3);
  for (size_t size : {1u, 3u, 17u, 999u}) {
    const Moments part = RunSteps(size, 3);
    for (size_t i = 0; i < size; ++i) {
      ASSERT_EQ(part.theta[i], whole.theta[i]);
    }
  }
}

TEST(AdamWTest, TheBiasCorrectionStaysFiniteAfterManySteps) {
  std::vector<float> m = {0}, v = {0}, theta = {1};
  const std::vector<float> gradient = {0.5f};
  AdamWStep(AdamOptions(), 1e-3f, 0, std::numeric_limits<uint64_t>::max(), gradient, absl::MakeSpan(m), absl::MakeSpan(v),
            absl::MakeSpan(theta));
  EXPECT_TRUE(std::isfinite(theta[0]));
  EXPECT_LT(theta[0], 1.0f);
}

TEST(ClipNormTest, ScalesALongGradientToTheNorm) {
  std::vector<float> gradient = {3, 4};
  EXPECT_DOUBLE_EQ(ClipNorm(1, absl::MakeSpan(gradient)), 5);
  EXPECT_FLOAT_EQ(gradient[0], 0.6f);
  EXPECT_FLOAT_EQ(gradient[1], 0.8f);
}

TEST(ClipNormTest, LeavesAShortGradientAndOneThatIsNotToBeClipped) {
  std::vector<float> gradient = {3, 4};
  EXPECT_DOUBLE_EQ(ClipNorm(5, absl::MakeSpan(gradient)), 5);
  EXPECT_DOUBLE_EQ(ClipNorm(0, absl::MakeSpan(gradient)), 5);
  EXPECT_EQ(gradient, (std::vector<float>{3, 4}));
}

TEST(ClipNormTest, ReportsAGradientThatIsNotFiniteAndLeavesIt) {
  for (float bad : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(), std::nanf("")}) {
    for (size_t place : {0u, 20u, 32u}) {
      std::vector<float> gradient(33, 2.0f);
      gradient[place] = bad;
      EXPECT_FALSE(std::isfinite(ClipNorm(1, absl::MakeSpan(gradient))));
      EXPECT_EQ(gradient[1], 2.0f);
    }
  }
}

TEST(ClipNormTest, DoesNotOverflowForTheLargestNumbers) {
  std::vector<float> gradient(40, std::numeric_limits<float>::max());
  EXPECT_TRUE(std::isfinite(ClipNorm(1, absl::MakeSpan(gradient))));
  EXPECT_NEAR(gradient[7], 1 / std::sqrt(40.0), 1e-6);
}

}  // namespace
}  // namespace tributary::optim
