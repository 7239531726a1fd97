// Which round is the best, and when a run has had enough.
#include "coordinator/run/best_round.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tributary::coordinator {
namespace {

using ::testing::Optional;

v1::RunSpec Spec(const std::string& metric, uint32_t patience, double min_change = 0, uint64_t after = 0) {
  v1::RunSpec spec;
  spec.mutable_stop_when()->set_metric(metric);
  spec.mutable_stop_when()->set_patience(patience);
  spec.mutable_stop_when()->set_min_change(min_change);
  spec.mutable_stop_when()->set_after(after);
  return spec;
}

// Of rounds 0, 10, 20 and so on.
JournaledEvaluations Losses(const std::vector<double>& losses) {
  JournaledEvaluations evaluations;
  for (size_t i = 0; i < losses.size(); ++i) {
    evaluations[10 * i] = {losses[i], {{"accuracy", 1 - losses[i] / 10}}};
  }
  return evaluations;
}

TEST(BestRound, IsTheFirstWithTheLeastLossOrTheHighestAccuracy) {
  const JournaledEvaluations evaluations = Losses({5, 3, 4, 3});
  EXPECT_EQ(BestRound(v1::RunSpec(), evaluations)->round, 10u);
  EXPECT_EQ(BestRound(Spec("accuracy", 1), evaluations)->round, 10u);
  EXPECT_DOUBLE_EQ(BestRound(Spec("accuracy", 1), evaluations)->value, 0.7);
  EXPECT_FALSE(BestRound(Spec("auroc", 1), evaluations).has_value()) << "nobody has reported it";
  EXPECT_FALSE(BestRound(v1::RunSpec(), {}).has_value());
}

TEST(EarlyEnd, IsAfterSoManyEvaluationsInARowThatWereNoBetter) {
  const JournaledEvaluations evaluations = Losses({5, 4, 3, 3.5, 3.25, 3});
  EXPECT_FALSE(EarlyEnd(Spec("loss", 3), evaluations, 50).has_value()) << "that of round 50 is not looked at yet";
  EXPECT_THAT(EarlyEnd(Spec("loss", 3), evaluations, 51),
              Optional(std::string("validation loss has not improved on 3 of round 20 in the last 3 evaluations")));
  EXPECT_THAT(EarlyEnd(Spec("accuracy", 1), evaluations, 31),
              Optional(std::string("accuracy has not improved on 0.7 of round 20 in the last evaluation")));
  EXPECT_FALSE(EarlyEnd(Spec("loss", 4), evaluations, 100).has_value());
  EXPECT_FALSE(EarlyEnd(v1::RunSpec(), evaluations, 100).has_value()) << "nobody asked for it";
}

TEST(EarlyEnd, StaysWhateverIsEvaluatedLater) {
  JournaledEvaluations evaluations = Losses({5, 4, 4, 4});
  ASSERT_TRUE(EarlyEnd(Spec("loss", 2), evaluations, 31).has_value());
  evaluations[31] = {1};
  EXPECT_TRUE(EarlyEnd(Spec("loss", 2), evaluations, 31).has_value());
  EXPECT_EQ(BestRound(Spec("loss", 2), evaluations)->round, 31u);
}

TEST(EarlyEnd, WantsMoreThanTheLeastChange) {
  const JournaledEvaluations evaluations = Losses({5, 4.5, 4.25, 4});
  EXPECT_FALSE(EarlyEnd(Spec("loss", 2, 0.4), evaluations, 40).has_value()) << "slowly, but .5 in two";
  EXPECT_THAT(EarlyEnd(Spec("loss", 2, 0.8), evaluations, 40),
              Optional(std::string("validation loss has not improved by more than 0.8 on 5 of round 0 in the last 2 evaluations")));
}

TEST(EarlyEnd, APerplexityThatIsNoNumberAnyMoreIsNoBetter) {
  JournaledEvaluations evaluations = {{0, {3, {{"perplexity", 20}}}}, {10, {2, {{"perplexity", 7}}}}, {20, {900}}, {30, {950}}};
  EXPECT_THAT(EarlyEnd(Spec("perplexity", 2), evaluations, 31),
              Optional(std::string("perplexity has not improved on 7 of round 10 in the last 2 evaluations")));
  EXPECT_EQ(BestRound(Spec("perplexity", 2), evaluations)->round, 10u);
  evaluations[0].metrics.clear();
  evaluations[10].metrics.clear();
  EXPECT_FALSE(EarlyEnd(Spec("perplexity", 2), evaluations, 31).has_value()) << "nobody has ever reported it";
}

TEST(WhyNotJudged, IsSaidOfTheFirstEvaluationAlone) {
  JournaledEvaluations evaluations = Losses({5});
  EXPECT_EQ(WhyNotJudged(Spec("accuracy", 1), evaluations), "");
  EXPECT_EQ(WhyNotJudged(v1::RunSpec(), evaluations), "");
  EXPECT_NE(WhyNotJudged(Spec("auroc", 1), evaluations), "");
  evaluations[10] = {5};
  EXPECT_EQ(WhyNotJudged(Spec("auroc", 1), evaluations), "");
}

TEST(EarlyEnd, CountsOnlyWhatCameAfter) {
  const JournaledEvaluations evaluations = Losses({5, 3, 4, 4, 4, 4});
  EXPECT_TRUE(EarlyEnd(Spec("loss", 2), evaluations, 100).has_value());
  EXPECT_FALSE(EarlyEnd(Spec("loss", 2, 0, 40), evaluations, 100).has_value());
  EXPECT_THAT(EarlyEnd(Spec("loss", 1, 0, 40), evaluations, 100),
              Optional(std::string("validation loss has not improved on 3 of round 10 in the last evaluation")))
      << "the best is of before";
}

}  // namespace
}  // namespace tributary::coordinator
