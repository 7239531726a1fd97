#include "coordinator/run/run_accounts.h"

#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace tributary::coordinator {
namespace {

TEST(BoundedMean, IsTheMeanOfWhatHonestSitesSay) {
  EXPECT_DOUBLE_EQ(*BoundedMean({2, 3, 4}), 3);
  EXPECT_DOUBLE_EQ(*BoundedMean({0.001, 0.02}), 0.0105) << "small losses may differ by any factor";
  EXPECT_DOUBLE_EQ(*BoundedMean({7}), 7);
}

TEST(BoundedMean, ALieMovesItByLessThanTheMedianTakesFour) {
  EXPECT_DOUBLE_EQ(*BoundedMean({2, 2, 3e38}), (2 + 2 + 9) / 3.0);
  EXPECT_DOUBLE_EQ(*BoundedMean({3e38, 2}), (2 + 9) / 2.0);
}

TEST(BoundedMean, LeavesOutWhatIsNoLoss) {
  EXPECT_DOUBLE_EQ(*BoundedMean({2, -3e38, std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}), 2);
  EXPECT_FALSE(BoundedMean({-1, std::numeric_limits<double>::quiet_NaN()}).has_value());
  EXPECT_FALSE(BoundedMean({}).has_value());
}

v1::UpdateReport Report(float loss, const std::vector<std::pair<std::string, double>>& metrics) {
  v1::UpdateReport report;
  report.set_val_loss(loss);
  for (const auto& [name, value] : metrics) {
    v1::Metric& metric = *report.add_metrics();
    metric.set_name(name);
    metric.set_value(value);
  }
  return report;
}

v1::EvaluationSpec Asked(const std::vector<std::string>& metrics) {
  v1::EvaluationSpec asked;
  asked.mutable_metrics()->Assign(metrics.begin(), metrics.end());
  return asked;
}

TEST(EvaluationIn, IsOfWhatTheRunAsksForAndOfWhatCanBe) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const v1::EvaluationSpec asked = Asked({"accuracy", "rmse", "f1"});
  EXPECT_EQ(EvaluationIn(Report(2, {{"accuracy", 0.5}, {"auroc", 0.75}, {"rmse", 40}, {"accuracy", 0.25}}), asked),
            (JournaledEvaluation{2, {{"accuracy", 0.5}, {"rmse", 40}}}))
      << "the run does not ask for auroc; of two the first";
  EXPECT_EQ(EvaluationIn(Report(2, {{"accuracy", 1.5}, {"f1", nan}, {"rmse", -1}}), asked), JournaledEvaluation{2});
  EXPECT_EQ(EvaluationIn(Report(std::numeric_limits<float>::infinity(), {{"accuracy", 1}}), asked), std::nullopt);
  EXPECT_EQ(EvaluationIn(v1::StateReport(), asked), std::nullopt);
}

TEST(EvaluationIn, OfAFloodOfMetricsOnlyTheFirstAreLookedAt) {
  v1::UpdateReport report = Report(2, {});
  for (int i = 0; i < 1000; ++i) {
    report.add_metrics()->set_name(i % 2 == 0 ? "nothing" : std::string(1000, 'a'));
  }
  report.add_metrics()->set_name("accuracy");
  EXPECT_EQ(EvaluationIn(report, Asked({"accuracy"})), JournaledEvaluation{2});
  KeepAsked(Asked({"accuracy"}), report);
  EXPECT_LT(report.ByteSizeLong(), 100u);
}

TEST(MeanOf, IsOfEachMetricOverTheSitesThatSaidIt) {
  EXPECT_EQ(MeanOf({{"a", {1, {{"accuracy", 0.5}, {"auroc", 0.75}}}}, {"b", {3, {{"accuracy", 1}}}}}),
            (JournaledEvaluation{2, {{"accuracy", 0.75}, {"auroc", 0.75}}}));
  EXPECT_EQ(MeanOf({}), std::nullopt);
}

TEST(RunAccounts, AnEvaluationThatASiteNoLongerSharesGoes) {
  RunAccounts accounts;
  const v1::EvaluationSpec asked = Asked({"accuracy"});
  EXPECT_EQ(accounts.SetSiteEvaluations({{"a", Report(2, {{"accuracy", 0.5}})}, {"b", v1::UpdateReport()}}, asked).size(), 1u);
  EXPECT_EQ(accounts.Find("a")->val_loss(), 2);
  EXPECT_EQ(accounts.Find("a")->metrics(0).value(), 0.5);
  EXPECT_FALSE(accounts.Find("b")->has_val_loss());
  accounts.SetSiteEvaluations({{"a", v1::UpdateReport()}}, asked);
  EXPECT_FALSE(accounts.Find("a")->has_val_loss());
  EXPECT_TRUE(accounts.Find("a")->metrics().empty());
}

}  // namespace
}  // namespace tributary::coordinator
