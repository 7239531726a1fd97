// Predictions of a model whose weights are known.
#include "worker/predict.h"

#include <limits>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/test_folder.h"

namespace tributary::worker {
namespace {

using ::testing::HasSubstr;

// One input, x in units of ten; logits (0, x).
PredictOptions Classifier() {
  PredictOptions options;
  options.model = optim::MlpModel{.inputs = 1, .hidden = {}, .outputs = 2};
  options.schema.columns = {{.name = "x", .missing = MissingPolicy::kDrop}};
  options.schema.label = {.name = "y", .classes = {{.name = "no, never"}, {.name = "yes"}}};
  options.statistics = {.columns = {{.mean = 0, .deviation = 10}}, .label = {}};
  return options;
}
const std::vector<float> kTheta = {0, 1, 0, 0};  // weight [2, 1], bias [2]

absl::StatusOr<Predictions> Predicted(const PredictOptions& options, const std::vector<float>& theta, absl::string_view text) {
  TestFolder folder;
  folder.Write("t.csv", text);
  return Predict(options, theta, folder.File("t.csv"));
}

TEST(Predict, EveryRowHasItsClassAndTheProbabilityOfEach) {
  const absl::StatusOr<Predictions> made = Predicted(Classifier(), kTheta, "id,x\n7,0\n8,10\n9,\n10,-10\n");
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_EQ(made->csv,
            "row,prediction,\"no, never\",yes\n"
            "1,\"no, never\",0.500000,0.500000\n"
            "2,yes,0.268941,0.731059\n"
            "3,,,\n"
            "4,\"no, never\",0.731059,0.268941\n");
  EXPECT_EQ(made->rows, 4u);
  EXPECT_EQ(made->left_out, 1u);
}

TEST(Predict, ProbabilitiesAreWithoutWhatClassesWeighedInTheLoss) {
  PredictOptions options = Classifier();
  options.schema.label.classes[1].weight = 3;
  // Of as many of both classes the loss teaches 1 : 3, which is what these logits say.
  EXPECT_THAT(Predicted(options, {0, 0, 0, 1.0986123F}, "x\n10\n")->csv, HasSubstr("\n1,yes,0.500000,0.500000\n"));
}

TEST(Predict, ARowWithoutAFiniteOutputIsRefusedByItsNumber) {
  const float infinite = std::numeric_limits<float>::infinity();
  const absl::Status status = Predicted(Classifier(), {0, infinite, 0, 0}, "x\n\n10\n0\n").status();
  EXPECT_THAT(status.message(), HasSubstr("t.csv: row 1: the model gives no finite number"));
}

TEST(Predict, ARowOfNothingButTabsIsARow) {
  PredictOptions options = Classifier();
  options.schema.columns[0].missing = MissingPolicy::kDrop;
  EXPECT_THAT(Predicted(options, kTheta, "x\ty\n\t\n10\t\n")->csv, HasSubstr("\n1,,,\n2,yes,"));
}

TEST(Predict, ANumberIsInTheLabelsUnit) {
  PredictOptions options = Classifier();
  options.model = optim::MlpModel{.inputs = 1, .hidden = {}, .outputs = 1, .task = optim::MlpModel::Task::kValues};
  options.schema.label = {.name = "days"};
  options.statistics.label = {.mean = 100, .deviation = 20};
  EXPECT_EQ(Predicted(options, {1, 0.5F}, "x\n10\n0\n\n")->csv, "row,prediction\n1,130\n2,110\n");
}

TEST(Predict, MoreRowsThanAreComputedAtOnceAreAllThere) {
  std::string text = "x\n";
  for (int i = 0; i < 2500; ++i) {
    text += i % 2 == 0 ? "10\n" : "-10\n";
  }
  const absl::StatusOr<Predictions> made = Predicted(Classifier(), kTheta, text);
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_EQ(made->rows, 2500u);
  EXPECT_THAT(made->csv, HasSubstr("\n2499,yes,0.268941,0.731059\n2500,\"no, never\",0.731059,0.268941\n"));
}

TEST(Predict, ATableThatDoesNotFitIsRefused) {
  EXPECT_THAT(Predicted(Classifier(), kTheta, "z\n1\n").status().message(), HasSubstr("no column 'x'"));
  PredictOptions options = Classifier();
  options.schema.columns[0].missing = MissingPolicy::kFlag;
  EXPECT_FALSE(Predicted(options, kTheta, "x\n1\n").ok()) << "two inputs, and the model has one";
}

}  // namespace
}  // namespace tributary::worker
