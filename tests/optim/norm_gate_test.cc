#include "optim/norm_gate.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "optim/aggregator.h"
#include "optim/apply.h"
#include "optim/encoder.h"
#include "optim/modes.h"
#include "optim/state_hash.h"
#include "tests/optim/random_updates.h"

namespace tributary::optim {
namespace {

using ::testing::HasSubstr;

constexpr Mode kBoundedModes[] = {Mode::kAllReduce, Mode::kDemo, Mode::kDistro, Mode::kLocal, Mode::kFedAvg, Mode::kDiLoCo};

Layout TestLayout() {
  return *Layout::Create({{"a", {37, 30}}, {"still", {50}, true}, {"b", {4097}}});
}

OptimizerOptions Bounded(Mode mode) {
  OptimizerOptions options = Defaults(mode);
  options.rounds = 1000;
  options.learning_rate.kind = ScheduleKind::kConstant;
  options.norm_bound = 3;
  options.normalize = false;
  options.clip_norm = 0;  // no contract: the median alone bounds
  options.adam.beta2 = 0.5f;
  return options;
}

// Directions of about equal norms.
std::vector<float> RandomDirection(const Layout& layout, uint64_t seed, float scale = 0.01f) {
  Dice dice(seed);
  return RandomFloats(dice, layout.size(), scale);
}

std::string UpdateOf(const OptimizerOptions& options, const Layout& layout, const RoundParameters& round, const std::vector<float>& g) {
  return *TraitsOf(options.mode).make_encoder(options, layout, 1)->Encode(round, g);
}

// A round of five honest updates, and what else is given.
Commit CommitRound(const OptimizerOptions& options, const Layout& layout, Aggregator& aggregator, uint64_t round,
                   const std::vector<std::string>& more = {}) {
  const RoundParameters parameters = ParametersForRound(options, round);
  EXPECT_TRUE(aggregator.BeginRound(parameters, 16).ok());
  for (uint64_t site = 0; site < 5; ++site) {
    EXPECT_TRUE(aggregator.Add(UpdateOf(options, layout, parameters, RandomDirection(layout, round * 100 + site))).ok());
  }
  for (const std::string& update : more) {
    EXPECT_TRUE(aggregator.Add(update).ok());
  }
  return *aggregator.Finish();
}

TEST(NormGateTest, AnUpdateBeyondTheBoundCountsAsIfItHadTheBoundsNorm) {
  const Layout layout = TestLayout();
  for (const Mode mode : kBoundedModes) {
    SCOPED_TRACE(ModeName(mode));
    const OptimizerOptions options = Bounded(mode);
    const RoundParameters third = ParametersForRound(options, 3);
    const auto aggregator = *MakeAggregator(options, layout);
    CommitRound(options, layout, *aggregator, 1);
    CommitRound(options, layout, *aggregator, 2);
    ASSERT_TRUE(aggregator->BeginRound(third, 16).ok());
    const std::string honest = UpdateOf(options, layout, third, RandomDirection(layout, 7));
    const std::string large = UpdateOf(options, layout, third, RandomDirection(layout, 7, 0.1f));
    const std::string huge = UpdateOf(options, layout, third, RandomDirection(layout, 7, 1.0f));
    EXPECT_EQ(*aggregator->ShareOf(*aggregator->Measure(honest)), 1.0);
    const double norm = *aggregator->Measure(large);
    const double share = *aggregator->ShareOf(norm);
    EXPECT_GT(share, 0.2);
    EXPECT_LT(share, 0.4) << "about ten times the median, scaled down to three times";
    EXPECT_LT(*aggregator->ShareOf(*aggregator->Measure(huge)), 0.04) << "and a hundred times the median, too";
    EXPECT_TRUE(aggregator->Add(huge).ok());
  }
}

TEST(NormGateTest, UpdatesBelowTheBoundMakeTheCommitsOfARunWithoutOne) {
  const Layout layout = TestLayout();
  for (const Mode mode : kBoundedModes) {
    SCOPED_TRACE(ModeName(mode));
    const OptimizerOptions options = Bounded(mode);
    OptimizerOptions unbounded = options;
    unbounded.norm_bound = 0;
    const auto a = *MakeAggregator(options, layout);
    const auto b = *MakeAggregator(unbounded, layout);
    for (uint64_t round = 1; round <= 4; ++round) {
      ASSERT_EQ(EncodeCommit(CommitRound(options, layout, *a, round)), EncodeCommit(CommitRound(unbounded, layout, *b, round)));
    }
  }
}

TEST(NormGateTest, WhatIsScaledDownDoesNotDependOnArrivalAndCanBeTakenBack) {
  const Layout layout = TestLayout();
  for (const Mode mode : kBoundedModes) {
    SCOPED_TRACE(ModeName(mode));
    const OptimizerOptions options = Bounded(mode);
    const RoundParameters third = ParametersForRound(options, 3);
    const std::string honest = UpdateOf(options, layout, third, RandomDirection(layout, 7));
    const std::string large = UpdateOf(options, layout, third, RandomDirection(layout, 8, 0.1f));
    std::vector<std::string> commits;
    for (const int order : {0, 1, 2}) {
      const auto aggregator = *MakeAggregator(options, layout);
      CommitRound(options, layout, *aggregator, 1);
      CommitRound(options, layout, *aggregator, 2);
      ASSERT_TRUE(aggregator->BeginRound(third, 4).ok());
      if (order == 2) {
        ASSERT_TRUE(aggregator->Add(large).ok());
        ASSERT_TRUE(aggregator->Remove(large).ok());
      }
      ASSERT_TRUE(aggregator->Add(order == 1 ? large : honest).ok());
      ASSERT_TRUE(aggregator->Add(order == 1 ? honest : large).ok());
      commits.push_back(EncodeCommit(*aggregator->Finish()));
      // And neither does what the next round is bounded by.
      commits.push_back(aggregator->SaveState());
    }
    EXPECT_EQ(commits[0], commits[2]);
    EXPECT_EQ(commits[0], commits[4]);
    EXPECT_EQ(commits[1], commits[3]);
    EXPECT_EQ(commits[1], commits[5]);
  }
}

TEST(NormGateTest, AStoredUpdateIsScaledAsOneInMemoryWhetherItsNormIsKnownOrNot) {
  const Layout layout = TestLayout();
  for (const Mode mode : {Mode::kAllReduce, Mode::kFedAvg, Mode::kDiLoCo}) {
    const OptimizerOptions options = Bounded(mode);
    const RoundParameters third = ParametersForRound(options, 3);
    const std::string large = UpdateOf(options, layout, third, RandomDirection(layout, 8, 0.1f));
    const SharedBytes stored = InMemory(large);
    const double norm = *MeasureStoredUpdate(options, layout, *stored);
    std::vector<std::string> commits;
    for (const int how : {0, 1, 2}) {
      const auto aggregator = *MakeAggregator(options, layout);
      CommitRound(options, layout, *aggregator, 1);
      CommitRound(options, layout, *aggregator, 2);
      ASSERT_TRUE(aggregator->BeginRound(third, 4).ok());
      EXPECT_EQ(norm, *aggregator->Measure(large));
      ASSERT_TRUE((how == 0 ? aggregator->Add(large)
                            : aggregator->AddStored(stored, kMaxWeight, how == 1 ? std::make_optional(norm) : std::nullopt))
                      .ok());
      commits.push_back(EncodeCommit(*aggregator->Finish()) + aggregator->SaveState());
    }
    EXPECT_EQ(commits[0], commits[1]);
    EXPECT_EQ(commits[0], commits[2]);
  }
}

TEST(NormGateTest, ARestoredAggregatorBoundsByTheSameNorms) {
  const Layout layout = TestLayout();
  for (const Mode mode : kBoundedModes) {
    SCOPED_TRACE(ModeName(mode));
    const OptimizerOptions options = Bounded(mode);
    const auto a = *MakeAggregator(options, layout);
    for (uint64_t round = 1; round <= 20; ++round) {
      CommitRound(options, layout, *a, round);
    }
    const auto b = *MakeAggregator(options, layout);
    const std::string state = a->SaveState();
    ASSERT_TRUE(b->RestoreState(state).ok());
    EXPECT_EQ(b->SaveState(), state);
    const RoundParameters next = ParametersForRound(options, 21);
    const std::vector<std::string> large = {UpdateOf(options, layout, next, RandomDirection(layout, 8, 0.1f))};
    EXPECT_EQ(EncodeCommit(CommitRound(options, layout, *a, 21, large)), EncodeCommit(CommitRound(options, layout, *b, 21, large)));
    for (size_t at = 0; at < state.size(); at += 1 + state.size() / 97) {
      EXPECT_EQ(b->RestoreState(state.substr(0, at)).code(), absl::StatusCode::kDataLoss);
    }
  }
}

TEST(NormGateTest, TheWindowIsTheFewestLatestRoundsWithEnoughNorms) {
  const Layout layout = TestLayout();
  NormGate gate(Bounded(Mode::kFedAvg), layout);
  const auto commit = [&gate](const std::vector<double>& norms) {
    gate.Open({});
    for (const double norm : norms) {
      gate.Add(norm);
    }
    gate.Close();
    gate.Open({});
    return gate.bound();
  };
  EXPECT_EQ(commit(std::vector<double>(7, 1.0)), std::numeric_limits<double>::infinity()) << "too few to know";
  EXPECT_EQ(commit({1.0}), 3.0);
  EXPECT_EQ(commit(std::vector<double>(50, 0.0)), 3.0) << "silence is no evidence";
  EXPECT_EQ(commit(std::vector<double>(10, 8.0)), 24.0) << "10 of 18 norms";
  for (int round = 0; round < 4; ++round) {
    commit(std::vector<double>(16, 2.0));
  }
  EXPECT_EQ(gate.bound(), 6.0) << "the older rounds are forgotten";
  EXPECT_LT(gate.Save().size(), (64 + 16 + 10) * sizeof(double));
}

TEST(NormGateTest, FewerThanHalfOfTheSitesCannotMoveTheBoundFar) {
  const Layout layout = TestLayout();
  NormGate gate(Bounded(Mode::kFedAvg), layout);
  for (int round = 0; round < 50; ++round) {
    gate.Open({});
    const double most = std::isfinite(gate.bound()) ? gate.bound() * kRefusedBeyond : 1e6;
    for (int site = 0; site < 16; ++site) {
      gate.Add(site < 7 ? most : 1.0 + 0.01 * site);
    }
    gate.Close();
  }
  gate.Open({});
  EXPECT_LT(gate.bound(), 3.5);
}

TEST(NormGateTest, BeforeThereAreNormsTheWorkersContractBounds) {
  const Layout layout = TestLayout();
  for (const Mode mode : {Mode::kAllReduce, Mode::kDemo, Mode::kDistro, Mode::kLocal, Mode::kFedAvg, Mode::kDiLoCo}) {
    SCOPED_TRACE(ModeName(mode));
    OptimizerOptions options = Defaults(mode);
    options.norm_bound = 3;
    options.normalize = false;
    options.rounds = 100;
    const auto aggregator = *MakeAggregator(options, layout);
    const RoundParameters first = ParametersForRound(options, 1);
    ASSERT_TRUE(aggregator->BeginRound(first, 4).ok());
    const double contract = NormContract(options, layout, first);
    ASSERT_TRUE(std::isfinite(contract));
    EXPECT_EQ(*aggregator->ShareOf(contract), 1.0);
    EXPECT_LT(*aggregator->ShareOf(contract * 2), 1.0);
    const absl::Status refused = aggregator->ShareOf(contract * 11).status();
    EXPECT_EQ(refused.code(), absl::StatusCode::kOutOfRange);
    EXPECT_THAT(refused.message(), HasSubstr("its norm is "));
    EXPECT_THAT(refused.message(), HasSubstr("optimizer.norm_bound"));
    // What an honest worker sends is within it: a gradient of any size, or the longest way that local steps can go.
    const bool gradients = DirectionOf(mode) == optim::Direction::kGradient;
    const float step = first.learning_rate * static_cast<float>(first.local_steps);
    const std::vector<float> longest(layout.size(), gradients ? 5.0f : step);
    EXPECT_EQ(*aggregator->ShareOf(*aggregator->Measure(UpdateOf(options, layout, first, longest))), 1.0);
  }
}

TEST(NormGateTest, WhatAnHonestWorkerMaySendIsNeverRefusedHoweverSmallTheOthersAre) {
  const Layout layout = TestLayout();
  OptimizerOptions options = Bounded(Mode::kAllReduce);
  options.clip_norm = 1;
  NormGate gate(options, layout);
  for (int round = 0; round < 8; ++round) {
    gate.Open(ParametersForRound(options, 1));
    gate.Add(1e-6);
    gate.Close();
  }
  gate.Open(ParametersForRound(options, 9));
  EXPECT_NEAR(*gate.ShareOf(1), 3e-6, 1e-9);
}

TEST(NormGateTest, WhoMakesACommitAgainWithTheOuterLearningRateBoundsItTheSame) {
  const Layout layout = TestLayout();
  for (const Mode mode : {Mode::kLocal, Mode::kDemo, Mode::kDistro}) {
    OptimizerOptions options = Defaults(mode);
    options.norm_bound = 3;
    options.normalize = false;
    options.rounds = 100;
    options.learning_rate.warmup_rounds = 10;
    RoundParameters second = ParametersForRound(options, 2);
    const double contract = NormContract(options, layout, second);
    second.learning_rate = 1;
    EXPECT_EQ(NormContract(options, layout, second), contract) << ModeName(mode);
  }
}

// How many steps updates are scaled to may be twenty times as many from one round to the next.
TEST(NormGateTest, UpdatesOfTimedStepsAreComparedByTheStep) {
  const Layout layout = TestLayout();
  OptimizerOptions options = Bounded(Mode::kLocal);
  options.local_time = absl::Seconds(1);
  NormGate gate(options, layout);
  for (uint64_t round = 1; round <= 8; ++round) {
    gate.Open({.round = round, .learning_rate = 0.1f, .local_steps = 2});
    gate.Add(1);
    gate.Close();
  }
  gate.Open({.round = 9, .learning_rate = 0.1f, .local_steps = 40});
  EXPECT_EQ(gate.bound(), options.norm_bound * 20);
}

TEST(NormGateTest, AResidualThatMayHaveGatheredFromAnyNumberOfStepsHasNoContract) {
  OptimizerOptions options = Defaults(Mode::kLocal);
  const RoundParameters parameters = ParametersForRound(options, 3);
  EXPECT_TRUE(std::isfinite(NormContract(options, TestLayout(), parameters)));
  options.local_time = absl::Seconds(1);
  EXPECT_TRUE(std::isinf(NormContract(options, TestLayout(), parameters)));
  options.mode = Mode::kFedAvg;
  EXPECT_TRUE(std::isfinite(NormContract(options, TestLayout(), parameters))) << "there is no residual";
}

TEST(NormGateTest, VotesAndUnitNormsNeedNoBound) {
  OptimizerOptions options = Defaults(Mode::kDistro);
  options.norm_bound = 3;
  EXPECT_FALSE(BoundsNorms(options));
  options = Defaults(Mode::kSignSgd);
  options.norm_bound = 3;
  EXPECT_FALSE(BoundsNorms(options));
  EXPECT_FALSE(BoundsNorms(Defaults(Mode::kFedAvg))) << "runs of releases without a bound";
}

TEST(NormGateTest, OneHostileRoundDoesNotFreezeTheSecondMoment) {
  const Layout layout = TestLayout();
  OptimizerOptions options = Bounded(Mode::kAllReduce);
  options.clip_norm = 1;
  const auto aggregator = *MakeAggregator(options, layout);
  ReplicaState state = *InitialState(options, layout, std::vector<float>(layout.size(), 0.0f));
  const auto largest = [&state] { return *std::max_element(state.slots[1].begin(), state.slots[1].end()); };
  for (uint64_t round = 1; round <= 10; ++round) {
    ASSERT_TRUE(Apply(options, layout, CommitRound(options, layout, *aggregator, round), state).ok());
  }
  const float before = largest();
  OptimizerOptions unclipped = options;
  unclipped.clip_norm = 0;
  const std::string hostile = UpdateOf(unclipped, layout, ParametersForRound(options, 11), std::vector<float>(layout.size(), 1000.0f));
  const auto refuses = *MakeAggregator(options, layout);
  ASSERT_TRUE(refuses->BeginRound(ParametersForRound(options, 1), 4).ok());
  EXPECT_EQ(refuses->Add(hostile).code(), absl::StatusCode::kOutOfRange) << "from the first round on";
  // Just not refused.
  const double median = *aggregator->Measure(UpdateOf(options, layout, ParametersForRound(options, 11), RandomDirection(layout, 1)));
  const auto value = static_cast<float>(25 * median / std::sqrt(static_cast<double>(layout.size())));
  const std::string sly = UpdateOf(unclipped, layout, ParametersForRound(options, 11), std::vector<float>(layout.size(), value));
  ASSERT_TRUE(Apply(options, layout, CommitRound(options, layout, *aggregator, 11, {sly, sly}), state).ok());
  EXPECT_LT(largest(), before * 9) << "the square of the bound";
}

}  // namespace
}  // namespace tributary::optim
