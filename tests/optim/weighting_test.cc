// Means weighed by samples: `optimizer.weighting`.
#include <cmath>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "optim/aggregator.h"
#include "optim/apply.h"
#include "optim/commit.h"
#include "optim/encoder.h"
#include "optim/replica_state.h"
#include "tests/optim/random_updates.h"

namespace tributary::optim {
namespace {

using ::testing::ElementsAre;

constexpr Mode kWeighable[] = {Mode::kDistro, Mode::kLocal, Mode::kFedAvg, Mode::kDiLoCo};

OptimizerOptions Weighed(Mode mode) {
  OptimizerOptions options = Defaults(mode);
  options.weighting = Weighting::kSamples;
  return options;
}

struct Update {
  std::string payload;
  uint32_t weight = kMaxWeight;
};

Commit CommitOf(Aggregator& aggregator, const std::vector<Update>& updates, uint32_t members, uint64_t round = 1) {
  EXPECT_TRUE(aggregator.BeginRound({.round = round, .learning_rate = 0.1f}, members).ok());
  for (const Update& update : updates) {
    const absl::Status added = aggregator.Add(update.payload, update.weight);
    EXPECT_TRUE(added.ok()) << added;
  }
  return *aggregator.Finish();
}

std::string EncodeAlone(const OptimizerOptions& options, const Layout& layout, absl::Span<const float> direction) {
  return *(*MakeUpdateEncoder(options, layout))->Encode({.round = 1, .learning_rate = 0.1f, .local_steps = 1}, direction);
}

std::vector<float> DenseMean(const OptimizerOptions& options, const Layout& layout, const std::vector<Update>& updates) {
  const auto aggregator = *MakeAggregator(options, layout);
  const Commit commit = CommitOf(*aggregator, updates, static_cast<uint32_t>(updates.size()));
  std::vector<float> mean(layout.size());
  std::memcpy(mean.data(), commit.payload.data() + 1, mean.size() * sizeof(float));
  return mean;
}

TEST(WeightingTest, WeightsAreSamplesUpToTheLargest) {
  EXPECT_EQ(*WeightOf(Weighed(Mode::kFedAvg), 1), 1u);
  EXPECT_EQ(*WeightOf(Weighed(Mode::kFedAvg), kMaxWeight - 1), kMaxWeight - 1);
  EXPECT_EQ(*WeightOf(Weighed(Mode::kFedAvg), uint64_t{1} << 60), kMaxWeight);
  EXPECT_EQ(WeightOf(Weighed(Mode::kFedAvg), 0).status().code(), absl::StatusCode::kInvalidArgument);
  for (const uint64_t samples : {0, 7}) {
    EXPECT_EQ(*WeightOf(Defaults(Mode::kFedAvg), samples), kMaxWeight) << "uniform";
  }
}

// What was left out of the commits of heavy members must not be multiplied when only light ones are in time.
TEST(WeightingTest, ARoundOfLightMembersDoesNotBlowUpWhatHeavyOnesLeft) {
  const Layout layout = *Layout::Create({{"w", {64, 64}}});
  OptimizerOptions options = Weighed(Mode::kLocal);
  options.k = options.commit_k = 64;
  const auto aggregator = *MakeAggregator(options, layout);
  const auto restored = *MakeAggregator(options, layout);
  Dice dice(7);
  const auto update = [&](uint32_t weight) { return Update{EncodeAlone(options, layout, RandomFloats(dice, layout.size())), weight}; };
  const auto norm_of = [&](const Commit& commit) {
    ReplicaState state = *InitialState(options, layout, std::vector<float>(layout.size()));
    Commit first = commit;
    first.round = 1;
    EXPECT_TRUE(Apply(options, layout, first, state).ok());
    double sum = 0;
    for (const float value : state.theta) {
      sum += double{value} * value;
    }
    return std::sqrt(sum);
  };
  double heavy = 0;
  for (uint64_t round = 1; round <= 4; ++round) {
    heavy = norm_of(CommitOf(*aggregator, {update(1'000'000), update(1'000'000), update(500), update(500)}, 4, round));
  }
  ASSERT_TRUE(restored->RestoreState(aggregator->SaveState()).ok());
  const std::vector<Update> light = {update(500), update(500)};
  const Commit commit = CommitOf(*aggregator, light, 4, 5);
  EXPECT_LT(norm_of(commit), 2 * heavy);
  EXPECT_EQ(EncodeCommit(CommitOf(*restored, light, 4, 5)), EncodeCommit(commit)) << "a restart goes on with the same measure";
}

TEST(WeightingTest, AWeightOutOfRangeIsRefusedAndLeavesTheSum) {
  const Layout layout = *Layout::Create({{"w", {64, 64}}});
  for (const Mode mode : kWeighable) {
    const std::string payload = EncodeAlone(Weighed(mode), layout, std::vector<float>(layout.size(), 0.5f));
    const auto aggregator = *MakeAggregator(Weighed(mode), layout);
    ASSERT_TRUE(aggregator->BeginRound({.round = 1}, 2).ok());
    EXPECT_EQ(aggregator->Add(payload, 0).code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(aggregator->Add(payload, kMaxWeight + 1).code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(aggregator->Finish()->included, 0u);

    const auto uniform = *MakeAggregator(Defaults(mode), layout);
    ASSERT_TRUE(uniform->BeginRound({.round = 1}, 2).ok());
    EXPECT_EQ(uniform->Add(payload, 100).code(), absl::StatusCode::kInvalidArgument) << "a uniform run has one weight";
  }
}

TEST(WeightingTest, DenseMeansAreWeighed) {
  const Layout layout = *Layout::Create({{"w", {4}}});
  for (const Mode mode : {Mode::kFedAvg, Mode::kDiLoCo}) {
    const std::string a = EncodeAlone(Weighed(mode), layout, std::vector<float>{1, -2, 0.5f, 100});
    const std::string b = EncodeAlone(Weighed(mode), layout, std::vector<float>{5, 2, 0.5f, -100});
    EXPECT_THAT(DenseMean(Weighed(mode), layout, {{a, 300}, {b, 100}}), ElementsAre(2, -1, 0.5f, 50));
    EXPECT_THAT(DenseMean(Weighed(mode), layout, {{a, kMaxWeight}, {b, kMaxWeight}}), ElementsAre(3, 0, 0.5f, 0));
    EXPECT_THAT(DenseMean(Weighed(mode), layout, {{a, 1}, {b, 1}}), ElementsAre(3, 0, 0.5f, 0));
  }
}

TEST(WeightingTest, EqualWeightsGiveThePlainMean) {
  Dice dice(5);
  const Layout layout = *Layout::Create({{"w", {100, 130}}, {"b", {130}}});
  for (const Mode mode : kWeighable) {
    std::vector<Update> full, small;
    for (int i = 0; i < 5; ++i) {
      const std::string payload = EncodeAlone(Defaults(mode), layout, RandomFloats(dice, layout.size(), 0.01f));
      full.push_back({payload, kMaxWeight});
      small.push_back({payload, 1000});
    }
    const Commit plain = CommitOf(**MakeAggregator(Defaults(mode), layout), full, 6);
    const Commit weighed = CommitOf(**MakeAggregator(Weighed(mode), layout), full, 6);
    // One unit of the sum may round otherwise where the accumulator is wider.
    if (mode != Mode::kDistro) {
      EXPECT_EQ(weighed.payload, plain.payload) << ModeName(mode);
    }

    ReplicaState a = *InitialState(Defaults(mode), layout, std::vector<float>(layout.size(), 0.0f));
    ReplicaState b = a;
    ASSERT_TRUE(Apply(Defaults(mode), layout, plain, a).ok());
    ASSERT_TRUE(Apply(Weighed(mode), layout, CommitOf(**MakeAggregator(Weighed(mode), layout), small, 6), b).ok());
    double difference = 0, norm = 0;
    for (size_t i = 0; i < a.theta.size(); ++i) {
      difference += std::pow(a.theta[i] - b.theta[i], 2);
      norm += std::pow(a.theta[i], 2);
    }
    EXPECT_GT(norm, 0);
    EXPECT_LT(std::sqrt(difference / norm), mode == Mode::kDistro ? 0.05 : 1e-4) << ModeName(mode);
  }
}

TEST(WeightingTest, SparseMeansAreWeighed) {
  const Layout layout = *Layout::Create({{"w", {64, 64}}});
  for (const Mode mode : {Mode::kDistro, Mode::kLocal}) {
    OptimizerOptions options = Weighed(mode);
    options.value_bits = 8;
    options.commit_value_bits = 8;
    const ChunkPlan plan(options, layout);
    const auto update = [&](std::vector<uint16_t> index, std::vector<int32_t> value) {
      const auto end = static_cast<uint32_t>(index.size());
      return EncodePayload(plan.update_shape(), SparseValues{{0.5f}, {0, end}, std::move(index), std::move(value)});
    };
    const auto aggregator = *MakeAggregator(options, layout);
    const Commit commit = CommitOf(*aggregator, {{update({10, 20}, {100, 100}), 3000}, {update({10, 30}, {-100, 100}), 1000}}, 2);
    SparseValues values;
    ASSERT_TRUE(DecodePayload(plan.commit_shape(), commit.payload, values).ok());
    ASSERT_THAT(values.index, ElementsAre(10, 20, 30));
    const auto at = [&](size_t i) { return static_cast<double>(values.scales[0]) * values.value[i]; };
    EXPECT_NEAR(at(0) / at(1), 2.0 / 3, 0.02) << ModeName(mode);
    EXPECT_NEAR(at(2) / at(1), 1.0 / 3, 0.02) << ModeName(mode);
    if (mode == Mode::kLocal) {
      EXPECT_NEAR(at(1), 37.5, 0.5);
    }
  }
}

std::vector<Update> RandomWeighedUpdates(Dice& dice, const OptimizerOptions& options, const Layout& layout, int64_t count) {
  std::vector<Update> updates;
  for (int64_t i = 0; i < count; ++i) {
    updates.push_back({RandomUpdate(dice, options, layout), static_cast<uint32_t>(dice.Roll(1, int64_t{1} << dice.Roll(0, 24)))});
  }
  return updates;
}

OptimizerOptions RandomWeighed(Dice& dice) {
  OptimizerOptions options = RandomOptions(dice);
  if (options.mode == Mode::kDemo) {
    options.mode = Mode::kDistro;
  }
  options.weighting = Weighting::kSamples;
  return options;
}

TEST(WeightingTest, OrderOfArrivalDoesNotChangeACommitAndAnUnfinishedRoundLeavesNoTrace) {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    Dice dice(seed);
    const Layout layout = RandomLayout(dice);
    const OptimizerOptions options = RandomWeighed(dice);
    SCOPED_TRACE(absl::StrCat("seed ", seed, ": ", Describe(options, layout)));
    const auto a = *MakeAggregator(options, layout);
    auto b = *MakeAggregator(options, layout);
    for (uint64_t round = 1; round <= 3; ++round) {
      std::vector<Update> updates = RandomWeighedUpdates(dice, options, layout, dice.Roll(0, 9));
      const auto members = static_cast<uint32_t>(updates.size() + dice.Roll(1, 3));
      const std::string expected = EncodeCommit(CommitOf(*a, updates, members, round));
      ASSERT_TRUE(b->BeginRound({.round = round}, 100).ok());
      const std::vector<Update> lost = RandomWeighedUpdates(dice, options, layout, 10);
      for (const Update& update : lost) {
        ASSERT_TRUE(b->Add(update.payload, update.weight).ok());
      }
      for (const Update& update : lost) {
        ASSERT_TRUE(b->Remove(update.payload, update.weight).ok());
      }
      for (size_t i = updates.size(); i > 1; --i) {
        std::swap(updates[i - 1], updates[dice.Roll(0, static_cast<int64_t>(i) - 1)]);
      }
      ASSERT_EQ(EncodeCommit(CommitOf(*b, updates, members, round)), expected);
      ASSERT_EQ(a->SaveState(), b->SaveState());
      auto restored = *MakeAggregator(options, layout);
      ASSERT_TRUE(restored->RestoreState(b->SaveState()).ok());
      b = std::move(restored);
    }
  }
}

TEST(WeightingTest, ExtremeUpdatesOfAllWeightsDoNotOverflow) {
  const Layout layout = *Layout::Create({{"w", {128, 64}}});
  for (const uint32_t weight : {1u, 12345u, kMaxWeight}) {
    for (const Mode mode : kWeighable) {
      OptimizerOptions options = Weighed(mode);
      std::string payload;
      if (mode == Mode::kFedAvg || mode == Mode::kDiLoCo) {
        payload = EncodeAlone(options, layout, std::vector<float>(layout.size(), 1024.0f));
      } else {
        options.value_bits = 8;
        options.commit_k = 1;
        const ChunkPlan plan(options, layout);
        const float scale = mode == Mode::kLocal ? 3.99f : 1e30f;
        payload = EncodePayload(plan.update_shape(), SparseValues{{scale}, {0, 1, 1}, {0}, {128}});
      }
      const auto aggregator = *MakeAggregator(options, layout);
      ReplicaState state = *InitialState(options, layout, std::vector<float>(layout.size(), 0.0f));
      for (uint64_t round = 1; round <= 2; ++round) {
        const Commit commit = CommitOf(*aggregator, std::vector<Update>(kMaxWorkers, {payload, weight}), kMaxWorkers, round);
        ASSERT_TRUE(Apply(options, layout, commit, state).ok());
      }
      EXPECT_LT(state.theta[0], 0) << ModeName(mode) << ", weight " << weight << ": an overflow would have turned the sign";
    }
  }
}

}  // namespace
}  // namespace tributary::optim
