#include "coordinator/run/timed_steps.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "coordinator/run/round_policy.h"
#include "proto/config/yaml.h"

namespace tributary::coordinator {
namespace {

v1::RunSpec SpecOf(absl::string_view steps, int pipeline = 0) {
  v1::RunSpec spec;
  const absl::Status parsed = ParseYaml(absl::StrCat("name: toy\nrounds: 5\npipeline: ", pipeline,
                                                     "\nmodel: {mlp: {inputs: 8, hidden: [16], outputs: 4}}\n"
                                                     "data: {kind: csv, label_column: label}\noptimizer: {mode: fedavg, ",
                                                     steps, ", learning_rate: {peak: 0.01}}\n"),
                                        "run.yaml", &spec);
  EXPECT_TRUE(parsed.ok()) << parsed;
  return spec;
}

RunModel ModelOf(absl::string_view steps, int pipeline = 0) {
  return *RunModel::Of(SpecOf(steps, pipeline));
}

constexpr char kTimed[] = "local_steps: auto, local_time: 30s";

std::map<std::string, v1::UpdateReport> ReportsOf(const std::vector<uint32_t>& steps) {
  std::map<std::string, v1::UpdateReport> reports;
  for (const uint32_t taken : steps) {
    reports[absl::StrCat("site-", reports.size())].set_local_steps(taken);
  }
  return reports;
}

TEST(TimedSteps, ARoundIsScaledToTheStepsOfTheOneBeforeAndTheFirstToTheFewest) {
  const RunModel model = ModelOf(kTimed);
  EXPECT_EQ(ReferenceRound(model, 1), 0u);
  EXPECT_EQ(ParametersOf(model, 1, 99).local_steps, optim::kLeastTimedSteps);
  EXPECT_EQ(ReferenceRound(model, 2), 1u);
  EXPECT_EQ(ParametersOf(model, 2, 99).local_steps, 99u);
  EXPECT_EQ(ParametersOf(model, 2, 0).local_steps, optim::kLeastTimedSteps) << "whatever a record holds";
}

// A round is computed while the one before is open.
TEST(TimedSteps, APipelinedRoundIsScaledToTheLastThatIsKnownWhenItIsComputed) {
  const RunModel model = ModelOf(kTimed, 1);
  EXPECT_EQ(ReferenceRound(model, 2), 0u);
  EXPECT_EQ(ReferenceRound(model, 3), 1u);
}

TEST(TimedSteps, ARunThatSaysHowManyStepsKeepsToThem) {
  const RunModel model = ModelOf("local_steps: 7");
  EXPECT_EQ(ReferenceRound(model, 4), 0u);
  EXPECT_EQ(ParametersOf(model, 4, 99).local_steps, 7u);
  EXPECT_EQ(StepsTaken(model, ParametersOf(model, 4, 99), ReportsOf({50})), 7u);
}

TEST(TimedSteps, TheRecordHasTheMedianOfTheSites) {
  const RunModel model = ModelOf(kTimed);
  const optim::RoundParameters parameters = ParametersOf(model, 2, 30);
  EXPECT_EQ(StepsTaken(model, parameters, ReportsOf({50, 12, 51})), 50u);
  EXPECT_EQ(StepsTaken(model, parameters, ReportsOf({100, 100, 2, 2})), 100u) << "of two in the middle the upper one";
  EXPECT_EQ(StepsTaken(model, parameters, ReportsOf({12, 50})), 50u);
  EXPECT_EQ(StepsTaken(model, parameters, ReportsOf({})), 30u) << "nobody took any: as the round was";
  EXPECT_EQ(StepsTaken(model, parameters, ReportsOf({0, 0})), 30u) << "nobody says";
}

TEST(TimedSteps, AReportThatCannotBeCountsAsNotSaid) {
  const RunModel model = ModelOf(kTimed);
  const optim::RoundParameters parameters = ParametersOf(model, 2, 30);
  EXPECT_EQ(StepsTaken(model, parameters, ReportsOf({50, 4000000000})), 50u);
  EXPECT_EQ(StepsTaken(model, parameters, ReportsOf({50, 1})), 50u);
  EXPECT_EQ(StepsTaken(model, parameters, ReportsOf({optim::kMaxLocalSteps + 1, 1})), 30u);
}

TEST(TimedSteps, ASiteThatLiesMovesTheStepsNoFurtherThanToThoseOfAnother) {
  const RunModel model = ModelOf(kTimed);
  EXPECT_EQ(StepsTaken(model, ParametersOf(model, 2, 30), ReportsOf({9, 10, 11, 100000})), 11u);
  EXPECT_EQ(StepsTaken(model, ParametersOf(model, 2, 30), ReportsOf({9, 10, 11, 2})), 10u);
}

TEST(TimedSteps, NoDeadlineIsShorterThanTheTimeForTheSteps) {
  EXPECT_EQ(RoundPolicyOf(SpecOf(kTimed)).min_deadline, absl::Seconds(30));
  EXPECT_EQ(RoundPolicyOf(SpecOf("local_steps: 7")).min_deadline, absl::Seconds(5));
}

}  // namespace
}  // namespace tributary::coordinator
