#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "optim/aggregator.h"
#include "tests/optim/random_updates.h"

namespace tributary::optim {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const RoundParameters kRound{.round = 1, .learning_rate = 0.01f, .local_steps = 1};

std::unique_ptr<Aggregator> AggregatorOf(const OptimizerOptions& options, const Layout& layout) {
  auto aggregator = MakeAggregator(options, layout);
  EXPECT_TRUE(aggregator.ok()) << aggregator.status();
  return *std::move(aggregator);
}

std::string CommitOf(Aggregator& aggregator, const RoundParameters& round, const std::vector<std::string>& updates, uint32_t members) {
  EXPECT_TRUE(aggregator.BeginRound(round, members).ok());
  for (const std::string& update : updates) {
    EXPECT_TRUE(aggregator.Add(update).ok());
  }
  return EncodeCommit(*aggregator.Finish());
}

std::vector<std::string> RandomUpdates(Dice& dice, const OptimizerOptions& options, const Layout& layout, int64_t count) {
  std::vector<std::string> updates;
  for (int64_t i = 0; i < count; ++i) {
    updates.push_back(RandomUpdate(dice, options, layout));
  }
  return updates;
}

// One matrix of one chunk.
const Layout& OneChunk() {
  static const Layout& layout = *new Layout(*Layout::Create({{.name = "w", .shape = {64, 64}}}));
  return layout;
}

SparseValues Entries(float scale, std::vector<uint16_t> index, std::vector<int32_t> value) {
  return {.scales = {scale}, .chunk_begin = {0, static_cast<uint32_t>(index.size())}, .index = std::move(index), .value = std::move(value)};
}

SparseValues DecodedCommit(const OptimizerOptions& options, const Layout& layout, const Commit& commit) {
  SparseValues values;
  EXPECT_TRUE(DecodePayload(ChunkPlan(options, layout).commit_shape(), commit.payload, values).ok());
  return values;
}

TEST(SparseAggregatorTest, OrderOfArrivalDoesNotChangeACommit) {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    Dice dice(seed);
    const Layout layout = RandomLayout(dice);
    const OptimizerOptions options = RandomOptions(dice);
    SCOPED_TRACE(absl::StrCat("seed ", seed, ": ", Describe(options, layout)));
    auto a = AggregatorOf(options, layout);
    auto b = AggregatorOf(options, layout);
    for (uint64_t round = 1; round <= 3; ++round) {
      std::vector<std::string> updates = RandomUpdates(dice, options, layout, dice.Roll(0, 9));
      const auto members = static_cast<uint32_t>(updates.size() + dice.Roll(1, 3));
      const std::string expected = CommitOf(*a, {.round = round, .learning_rate = 0.1f}, updates, members);
      for (size_t i = updates.size(); i > 1; --i) {
        std::swap(updates[i - 1], updates[dice.Roll(0, static_cast<int64_t>(i) - 1)]);
      }
      ASSERT_EQ(CommitOf(*b, {.round = round, .learning_rate = 0.1f}, updates, members), expected);
      ASSERT_EQ(a->SaveState(), b->SaveState());
    }
  }
}

TEST(SparseAggregatorTest, RestoredAggregatorsMakeTheSameCommits) {
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    Dice dice(seed);
    const Layout layout = RandomLayout(dice);
    const OptimizerOptions options = RandomOptions(dice);
    SCOPED_TRACE(absl::StrCat("seed ", seed, ": ", Describe(options, layout)));
    auto a = AggregatorOf(options, layout);
    CommitOf(*a, kRound, RandomUpdates(dice, options, layout, 3), 4);
    auto b = AggregatorOf(options, layout);
    ASSERT_TRUE(b->RestoreState(a->SaveState()).ok());
    const std::vector<std::string> updates = RandomUpdates(dice, options, layout, 3);
    EXPECT_EQ(CommitOf(*a, kRound, updates, 3), CommitOf(*b, kRound, updates, 3));
  }
}

TEST(SparseAggregatorTest, WhatIsRemovedLeavesNoTrace) {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    Dice dice(seed);
    const Layout layout = RandomLayout(dice);
    const OptimizerOptions options = RandomOptions(dice);
    SCOPED_TRACE(absl::StrCat("seed ", seed, ": ", Describe(options, layout)));
    auto a = AggregatorOf(options, layout);
    auto b = AggregatorOf(options, layout);
    const std::vector<std::string> before = RandomUpdates(dice, options, layout, 2);
    CommitOf(*a, kRound, before, 2);
    CommitOf(*b, kRound, before, 2);
    ASSERT_TRUE(a->BeginRound(kRound, 100).ok());
    const std::vector<std::string> after = RandomUpdates(dice, options, layout, 2);
    const std::vector<std::string> lost = RandomUpdates(dice, options, layout, 10);
    for (const std::string& update : lost) {
      ASSERT_TRUE(a->Add(update).ok());
    }
    EXPECT_EQ(a->BeginRound(kRound, 5).code(), absl::StatusCode::kFailedPrecondition);
    for (auto update = lost.rbegin(); update != lost.rend(); ++update) {
      ASSERT_TRUE(a->Remove(*update).ok());
    }
    EXPECT_EQ(a->Remove(lost[0]).code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(a->SaveState(), b->SaveState());
    EXPECT_EQ(CommitOf(*a, kRound, after, 5), CommitOf(*b, kRound, after, 5));
    EXPECT_EQ(a->SaveState(), b->SaveState());
  }
}

TEST(SparseAggregatorTest, WorkersCountTheSameWhateverTheirScale) {
  OptimizerOptions options = Defaults(Mode::kDistro);
  options.commit_value_bits = 2;
  const PayloadShape shape = ChunkPlan(options, OneChunk()).update_shape();
  auto aggregator = AggregatorOf(options, OneChunk());
  ASSERT_TRUE(aggregator->BeginRound(kRound, 3).ok());
  ASSERT_TRUE(aggregator->Add(EncodePayload(shape, Entries(1e-6f, {10, 20}, {1, 1}))).ok());
  ASSERT_TRUE(aggregator->Add(EncodePayload(shape, Entries(1e6f, {10, 20}, {-1, 1}))).ok());
  ASSERT_TRUE(aggregator->Add(EncodePayload(shape, Entries(1.0f, {20, 30}, {1, 1}))).ok());
  const SparseValues values = DecodedCommit(options, OneChunk(), *aggregator->Finish());
  EXPECT_THAT(values.index, ElementsAre(20, 30));  // what two workers disagree on cancels
  EXPECT_GT(values.value[0], values.value[1]);
}

TEST(SparseAggregatorTest, ALoneEntryCountsAtMostSixtyFourTimesTheAverage) {
  OptimizerOptions options = Defaults(Mode::kDistro);
  const Layout layout = *Layout::Create({{.name = "w", .shape = {1024, 1024}}});
  const ChunkPlan plan(options, layout);
  SparseValues lone{.scales = {1.0f}, .chunk_begin = std::vector<uint32_t>(plan.chunks() + 1, 1), .index = {5}, .value = {1}};
  lone.chunk_begin[0] = 0;
  auto aggregator = AggregatorOf(options, layout);
  ASSERT_TRUE(aggregator->BeginRound(kRound, 1).ok());
  ASSERT_TRUE(aggregator->Add(EncodePayload(plan.update_shape(), lone)).ok());
  const SparseValues values = DecodedCommit(options, layout, *aggregator->Finish());
  ASSERT_THAT(values.index, ElementsAre(5));
  EXPECT_LE(values.scales[0] * static_cast<float>(values.value[0]), 64.001f);
}

TEST(SparseAggregatorTest, UnnormalisedMeanIsOverWhatWasAdded) {
  OptimizerOptions options = Defaults(Mode::kLocal);
  options.value_bits = 8;
  options.commit_value_bits = 8;
  const PayloadShape shape = ChunkPlan(options, OneChunk()).update_shape();
  auto aggregator = AggregatorOf(options, OneChunk());
  ASSERT_TRUE(aggregator->BeginRound(kRound, 7).ok());
  ASSERT_TRUE(aggregator->Add(EncodePayload(shape, Entries(0.5f, {3, 9}, {4, 100}))).ok());
  ASSERT_TRUE(aggregator->Add(EncodePayload(shape, Entries(0.25f, {9, 11}, {-40, 8}))).ok());
  const Commit commit = *aggregator->Finish();
  EXPECT_EQ(commit.included, 2u);
  EXPECT_EQ(commit.learning_rate, options.outer_learning_rate);
  const SparseValues values = DecodedCommit(options, OneChunk(), commit);
  ASSERT_THAT(values.index, ElementsAre(3, 9, 11));
  EXPECT_NEAR(values.scales[0] * values.value[0], 1.0, 0.1);
  EXPECT_NEAR(values.scales[0] * values.value[1], 20.0, 0.1);
  EXPECT_NEAR(values.scales[0] * values.value[2], 1.0, 0.1);
}

TEST(SparseAggregatorTest, WhatACommitLeavesOutComesLater) {
  OptimizerOptions options = Defaults(Mode::kLocal);
  options.commit_k = 1;
  options.value_bits = 8;
  options.commit_value_bits = 8;
  const PayloadShape shape = ChunkPlan(options, OneChunk()).update_shape();
  auto aggregator = AggregatorOf(options, OneChunk());
  std::vector<double> sum(4096, 0.0);
  for (uint64_t round = 1; round <= 40; ++round) {
    ASSERT_TRUE(aggregator->BeginRound({.round = round}, 1).ok());
    const SparseValues update = round == 1 ? Entries(1.0f, {1, 2, 3}, {7, 90, -33}) : Entries(0.0f, {}, {});
    ASSERT_TRUE(aggregator->Add(EncodePayload(shape, update)).ok());
    const SparseValues values = DecodedCommit(options, OneChunk(), *aggregator->Finish());
    for (size_t i = 0; i < values.index.size(); ++i) {
      sum[values.index[i]] += static_cast<double>(values.scales[0]) * values.value[i];
    }
  }
  EXPECT_NEAR(sum[1], 7, 1e-6);
  EXPECT_NEAR(sum[2], 90, 1e-6);
  EXPECT_NEAR(sum[3], -33, 1e-6);
}

TEST(SparseAggregatorTest, AUnionHoldsEveryPlaceOfTheRoundAndNoOther) {
  OptimizerOptions options = Defaults(Mode::kDistro);
  options.commit_k = 0;
  options.commit_value_bits = 8;
  const PayloadShape shape = ChunkPlan(options, OneChunk()).update_shape();
  auto aggregator = AggregatorOf(options, OneChunk());
  for (const uint16_t first : {uint16_t{100}, uint16_t{200}}) {
    ASSERT_TRUE(aggregator->BeginRound(kRound, 2).ok());
    ASSERT_TRUE(aggregator->Add(EncodePayload(shape, Entries(1.0f, {first, 700, 4000}, {1, 1, -1}))).ok());
    ASSERT_TRUE(aggregator->Add(EncodePayload(shape, Entries(1.0f, {first, 701}, {1, 1}))).ok());
    EXPECT_THAT(DecodedCommit(options, OneChunk(), *aggregator->Finish()).index, ElementsAre(first, 700, 701, 4000));
  }
}

TEST(SparseAggregatorTest, DemoTakesTheMeanOverTheSenders) {
  const OptimizerOptions options = Defaults(Mode::kDemo);
  const PayloadShape shape = ChunkPlan(options, OneChunk()).update_shape();
  const auto bits = [](float value) { return std::bit_cast<int32_t>(value); };
  auto aggregator = AggregatorOf(options, OneChunk());
  ASSERT_TRUE(aggregator->BeginRound(kRound, 3).ok());
  ASSERT_TRUE(aggregator->Add(EncodePayload(shape, Entries(1.0f, {1, 2}, {bits(0.5f), bits(3.0f)}))).ok());
  ASSERT_TRUE(aggregator->Add(EncodePayload(shape, Entries(1.0f, {2, 3}, {bits(-1.0f), bits(-0.25f)}))).ok());
  ASSERT_TRUE(aggregator->Add(EncodePayload(shape, Entries(1.0f, {2}, {bits(0.4f)}))).ok());
  const SparseValues values = DecodedCommit(options, OneChunk(), *aggregator->Finish());
  ASSERT_THAT(values.index, ElementsAre(1, 2, 3));
  EXPECT_NEAR(static_cast<double>(values.scales[0]) * values.value[0], 0.5, 1e-7);
  EXPECT_NEAR(static_cast<double>(values.scales[0]) * values.value[1], 0.8, 1e-7);
  EXPECT_NEAR(static_cast<double>(values.scales[0]) * values.value[2], -0.25, 1e-7);
}

TEST(SparseAggregatorTest, FourThousandAndNinetySixExtremeUpdatesDoNotOverflow) {
  for (const Rule rule : {Rule::kSign, Rule::kScaled}) {
    OptimizerOptions options = Defaults(Mode::kDistro);
    options.rule = rule;
    options.value_bits = 8;
    options.commit_k = 1;
    const Layout layout = *Layout::Create({{.name = "w", .shape = {128, 64}}});
    const PayloadShape shape = ChunkPlan(options, layout).update_shape();
    SparseValues peak{.scales = {1e30f}, .chunk_begin = {0, 1, 1}, .index = {0}, .value = {128}};
    const std::string update = EncodePayload(shape, peak);
    auto aggregator = AggregatorOf(options, layout);
    for (uint64_t round = 1; round <= 2; ++round) {
      ASSERT_TRUE(aggregator->BeginRound({.round = round}, kMaxWorkers).ok());
      for (int64_t i = 0; i < kMaxWorkers; ++i) {
        ASSERT_TRUE(aggregator->Add(update).ok());
      }
      SparseValues values;
      ASSERT_TRUE(DecodePayload(ChunkPlan(options, layout).commit_shape(), aggregator->Finish()->payload, values).ok());
      ASSERT_EQ(values.value.size(), 1u);
      EXPECT_GT(values.value[0], 0) << "an overflow would have turned the sign";
    }
  }
}

TEST(SparseAggregatorTest, ValuesBeyondTheRangeOfTheSumAreRefused) {
  const OptimizerOptions local = Defaults(Mode::kLocal);
  const auto absolute = AggregatorOf(local, OneChunk());
  const PayloadShape shape = ChunkPlan(local, OneChunk()).update_shape();
  EXPECT_TRUE(absolute->Check(EncodePayload(shape, Entries(255.0f, {1}, {1}))).ok());
  EXPECT_THAT(absolute->Check(EncodePayload(shape, Entries(256.0f, {1}, {1}))).message(), HasSubstr("below 512"));

  const OptimizerOptions demo = Defaults(Mode::kDemo);
  const auto means = AggregatorOf(demo, OneChunk());
  const PayloadShape floats = ChunkPlan(demo, OneChunk()).update_shape();
  EXPECT_TRUE(means->Check(EncodePayload(floats, Entries(1.0f, {1}, {std::bit_cast<int32_t>(127.0f)}))).ok());
  EXPECT_THAT(means->Check(EncodePayload(floats, Entries(1.0f, {1}, {std::bit_cast<int32_t>(128.0f)}))).message(), HasSubstr("below 128"));
  EXPECT_THAT(means->Check(EncodePayload(floats, Entries(2.0f, {1}, {std::bit_cast<int32_t>(1.0f)}))).message(), HasSubstr("scale 2"));
}

TEST(SparseAggregatorTest, AnUpdateThatIsNotCanonicalLeavesTheSumUnchanged) {
  const OptimizerOptions options = Defaults(Mode::kDistro);
  auto aggregator = AggregatorOf(options, OneChunk());
  Dice dice(9);
  ASSERT_TRUE(aggregator->BeginRound(kRound, 4).ok());
  const std::string update = RandomUpdate(dice, options, OneChunk());
  ASSERT_TRUE(aggregator->Add(update).ok());
  EXPECT_EQ(aggregator->Add(update + "x").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(aggregator->Add("").code(), absl::StatusCode::kInvalidArgument);
  const Commit commit = *aggregator->Finish();
  EXPECT_EQ(commit.included, 1u);
  auto other = AggregatorOf(options, OneChunk());
  EXPECT_EQ(EncodeCommit(commit), CommitOf(*other, kRound, {update}, 4));
}

TEST(SparseAggregatorTest, ARoundTakesNoMoreThanItsMembersAndNothingWhenClosed) {
  const OptimizerOptions options = Defaults(Mode::kDistro);
  auto aggregator = AggregatorOf(options, OneChunk());
  Dice dice(9);
  const std::string update = RandomUpdate(dice, options, OneChunk());
  EXPECT_EQ(aggregator->Add(update).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(aggregator->Finish().status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(aggregator->BeginRound(kRound, 0).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(aggregator->BeginRound(kRound, kMaxWorkers + 1).code(), absl::StatusCode::kInvalidArgument);
  ASSERT_TRUE(aggregator->BeginRound(kRound, 1).ok());
  ASSERT_TRUE(aggregator->Add(update).ok());
  EXPECT_EQ(aggregator->Add(update).code(), absl::StatusCode::kFailedPrecondition);
}

TEST(SparseAggregatorTest, ARoundWithoutUpdatesIsAnEmptyCommit) {
  for (const Mode mode : {Mode::kDemo, Mode::kDistro, Mode::kLocal}) {
    auto aggregator = AggregatorOf(Defaults(mode), OneChunk());
    ASSERT_TRUE(aggregator->BeginRound({.round = 5, .learning_rate = 0.5f}, 3).ok());
    const Commit commit = *aggregator->Finish();
    EXPECT_EQ(commit.round, 5u);
    EXPECT_EQ(commit.included, 0u);
    EXPECT_TRUE(commit.payload.empty());
  }
}

TEST(SparseAggregatorTest, DamagedOrForeignStatesAreRefused) {
  OptimizerOptions options = Defaults(Mode::kDistro);
  auto aggregator = AggregatorOf(options, OneChunk());
  Dice dice(2);
  CommitOf(*aggregator, kRound, RandomUpdates(dice, options, OneChunk(), 4), 4);
  const std::string state = aggregator->SaveState();
  for (size_t at = 0; at < state.size(); ++at) {
    std::string damaged = state;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
    ASSERT_EQ(aggregator->RestoreState(damaged).code(), absl::StatusCode::kDataLoss) << at;
    ASSERT_EQ(aggregator->RestoreState(state.substr(0, at)).code(), absl::StatusCode::kDataLoss) << at;
  }
  EXPECT_EQ(aggregator->SaveState(), state);
  options.domain = Domain::kIdentity;
  EXPECT_EQ(AggregatorOf(options, OneChunk())->RestoreState(state).code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace tributary::optim
