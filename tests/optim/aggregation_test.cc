// The rules of aggregation besides the mean.
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "optim/aggregator.h"
#include "optim/modes.h"
#include "tests/optim/random_updates.h"

namespace tributary::optim {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Layout ThreeValues() {
  return *Layout::Create({{"a", {2}}, {"still", {4}, true}, {"b", {1}}});
}

std::string DenseUpdate(const std::vector<float>& values) {
  std::string payload(1, '\1');
  for (const float value : values) {
    payload.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  return payload;
}

std::vector<float> ValuesOf(const Commit& commit) {
  std::vector<float> values((commit.payload.size() - 1) / sizeof(float));
  std::memcpy(values.data(), commit.payload.data() + 1, values.size() * sizeof(float));
  return values;
}

OptimizerOptions By(Aggregation aggregation, Mode mode = Mode::kFedAvg) {
  OptimizerOptions options = Defaults(mode);
  options.rounds = 10;
  options.aggregation = aggregation;
  return options;
}

std::vector<float> Committed(const OptimizerOptions& options, const Layout& layout, const std::vector<std::vector<float>>& updates) {
  const auto aggregator = *MakeAggregator(options, layout);
  EXPECT_TRUE(aggregator->BeginRound({}, 16).ok());
  for (const std::vector<float>& update : updates) {
    EXPECT_TRUE(aggregator->Add(DenseUpdate(update)).ok());
  }
  return ValuesOf(*aggregator->Finish());
}

TEST(AggregationTest, ATrimmedMeanLeavesTheLargestAndSmallestOut) {
  const std::vector<std::vector<float>> updates = {{1, -1, 0}, {2, -2, 0}, {3, -3, 1000}, {4, -4, 0}, {1000, -1000, 2}};
  EXPECT_THAT(Committed(By(Aggregation::kTrimmedMean), ThreeValues(), updates), ElementsAre(3, -3, 2.0f / 3));
}

TEST(AggregationTest, AMedianIsTheMiddleOrTheMeanOfTheTwoInIt) {
  const std::vector<std::vector<float>> odd = {{1, 1, 0}, {-1000, 2, 0}, {1000, 8, 5}};
  EXPECT_THAT(Committed(By(Aggregation::kMedian), ThreeValues(), odd), ElementsAre(1, 2, 0));
  const std::vector<std::vector<float>> even = {{1, 1, 0}, {-1000, 2, 0}, {1000, 8, 5}, {3, 4, 1}};
  EXPECT_THAT(Committed(By(Aggregation::kMedian), ThreeValues(), even), ElementsAre(2, 3, 0.5f));
}

TEST(AggregationTest, ATrimIsRoundedUpButLeavesSomethingInTheMiddle) {
  OptimizerOptions options = By(Aggregation::kTrimmedMean);
  for (const auto& [count, left_out] : std::vector<std::pair<int, int>>{{1, 0}, {2, 0}, {3, 1}, {5, 1}, {6, 2}, {15, 3}, {16, 4}}) {
    std::vector<std::vector<float>> updates(count, {0, 0, 0});
    for (int i = 0; i < left_out; ++i) {
      updates[i] = {1000, 0, 0};
    }
    EXPECT_EQ(Committed(options, ThreeValues(), updates)[0], 0) << count;
    if (count > 2 && left_out < (count - 1) / 2) {
      updates[left_out] = {1000, 0, 0};
      EXPECT_GT(Committed(options, ThreeValues(), updates)[0], 0) << count;
    }
  }
}

TEST(AggregationTest, OfAVoteOnlySignsCount) {
  const std::vector<std::vector<float>> updates = {{1, -1e-6f, 0}, {2, -2, 0}, {-1000, 0, 0}, {4, 5, 1e-6f}};
  EXPECT_THAT(Committed(By(Aggregation::kSignVote, Mode::kAllReduce), ThreeValues(), updates), ElementsAre(0.5f, -0.25f, 0.25f));
}

TEST(AggregationTest, OrderOfArrivalThreadsAndWhereUpdatesAreDoNotMatterAndUpdatesCanBeTakenBack) {
  Dice dice(7);
  const Layout layout = *Layout::Create({{"a", {300, 1000}}, {"still", {50}, true}, {"b", {4097}}});
  std::vector<std::string> updates;
  for (int site = 0; site < 9; ++site) {
    updates.push_back(DenseUpdate(RandomFloats(dice, 304097)));
  }
  for (OptimizerOptions options : {By(Aggregation::kTrimmedMean), By(Aggregation::kMedian), By(Aggregation::kSignVote, Mode::kAllReduce)}) {
    options.norm_bound = 3;
    std::vector<std::string> records;
    for (const int how : {0, 1, 2}) {
      const auto aggregator = *MakeAggregator(options, layout);
      ASSERT_TRUE(aggregator->BeginRound({}, 9).ok());
      if (how == 1) {
        ASSERT_TRUE(aggregator->Add(updates[3]).ok());
        ASSERT_TRUE(aggregator->Remove(updates[3]).ok());
      }
      for (int i = 0; i < 9; ++i) {
        const std::string& update = updates[how == 0 ? i : 8 - i];
        ASSERT_TRUE((how == 2 ? aggregator->AddStored(InMemory(update)) : aggregator->Add(update)).ok());
      }
      std::string record;
      const auto sink = [&record](absl::string_view piece) {
        record.append(piece.data(), piece.size());
        return absl::OkStatus();
      };
      ASSERT_TRUE(aggregator->FinishRecord(sink, 1 + how).ok());
      records.push_back(record);
    }
    EXPECT_EQ(records[0], records[1]) << AggregationName(options.aggregation);
    EXPECT_EQ(records[0], records[2]) << AggregationName(options.aggregation);
  }
}

TEST(AggregationTest, AModeRefusesTheRulesThatWouldDestroyIt) {
  for (const Mode mode : {Mode::kDistro, Mode::kLocal, Mode::kDemo, Mode::kSignSgd}) {
    for (const Aggregation aggregation : {Aggregation::kTrimmedMean, Aggregation::kMedian}) {
      EXPECT_THAT(Validate(By(aggregation, mode)).message(), HasSubstr("few sites send the same component")) << ModeName(mode);
    }
  }
  for (const Mode mode : {Mode::kLocal, Mode::kFedAvg, Mode::kDiLoCo}) {
    EXPECT_THAT(Validate(By(Aggregation::kSignVote, mode)).message(), HasSubstr("a sign has no length")) << ModeName(mode);
  }
  OptimizerOptions weighed = By(Aggregation::kMedian);
  weighed.weighting = Weighting::kSamples;
  EXPECT_THAT(Validate(weighed).message(), HasSubstr("weighting: uniform"));
}

}  // namespace
}  // namespace tributary::optim
