// Metrics against scikit-learn's, which computed the constants: accuracy_score, f1_score (average="macro" of more than two classes),
// roc_auc_score (multi_class="ovr", average="macro", of softmax), mean_squared_error; version 1.9.1.
#include "worker/scores.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace tributary::worker {
namespace {

using optim::MetricKind;
using ::testing::DoubleNear;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

constexpr MetricKind kOfClasses[] = {MetricKind::kAccuracy, MetricKind::kF1, MetricKind::kAuroc};
constexpr double kExact = 1e-7;  // outputs are fp32

const std::vector<int64_t> kTwo = {1, 0, 1, 0, 1, 1, 1, 1, 0, 1, 0, 1};
const std::vector<float> kTwoOutputs = {-1,  0, 0,   -2,    1,    .5f, -.5f, 0, .5f, -.5f,  0,    -1.5f,
                                        .5f, 0, .5f, -1.5f, 1.5f, 0,   -.5f, 2, 0,   -1.5f, -.5f, -2.5f};
const std::vector<int64_t> kThree = {0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 2, 2};
const std::vector<float> kThreeOutputs = {0.52f,  -0.35f, -0.38f, 0.83f,  2.11f,  -0.99f, 1.21f,  1.08f,  1.07f,  0.3f,   0.88f,
                                          -0.84f, 0.65f,  0.05f,  0.49f,  -0.55f, -0.08f, 1.21f,  -1.06f, -1.26f, 2.4f,   -0.37f,
                                          0.36f,  0.42f,  -0.41f, -1.71f, -1.38f, 0.97f,  0.41f,  -0.21f, -1.93f, -1.08f, -1.3f,
                                          -1.02f, 2.37f,  0.58f,  -1.25f, 0.81f,  2.2f,   -0.96f, 1.45f,  0.19f};

Batch Labelled(std::vector<int64_t> targets) {
  Batch batch;
  batch.rows = static_cast<int64_t>(targets.size());
  batch.targets = std::move(targets);
  return batch;
}

std::map<std::string, double> OfClasses(const std::vector<float>& outputs, const std::vector<int64_t>& targets) {
  Scores scores(kOfClasses);
  scores.Add(outputs, Labelled(targets));
  return scores.Metrics(0, 1);
}

TEST(Scores, OfTwoClassesAreScikitLearns) {
  EXPECT_THAT(OfClasses(kTwoOutputs, kTwo),
              UnorderedElementsAre(Pair("accuracy", DoubleNear(0.4166666666666667, kExact)),
                                   Pair("f1", DoubleNear(0.36363636363636365, kExact)), Pair("auroc", DoubleNear(0.625, kExact))));
}

TEST(Scores, OfThreeClassesAreScikitLearns) {
  EXPECT_THAT(OfClasses(kThreeOutputs, kThree), UnorderedElementsAre(Pair("accuracy", DoubleNear(0.42857142857142855, kExact)),
                                                                     Pair("f1", DoubleNear(0.4296296296296296, kExact)),
                                                                     Pair("auroc", DoubleNear(0.6375000000000001, kExact))));
}

TEST(Scores, DoNotDependOnHowTheSplitIsCutIntoBatches) {
  Scores scores(kOfClasses);
  for (size_t i = 0; i < kThree.size(); ++i) {
    scores.Add(absl::MakeConstSpan(kThreeOutputs).subspan(3 * i, 3), Labelled({kThree[i]}));
  }
  EXPECT_EQ(scores.Metrics(0, 1), OfClasses(kThreeOutputs, kThree));
}

TEST(Scores, OfClassesAreMeansOverThoseThatOccur) {
  std::vector<int64_t> labels;
  std::vector<float> outputs;
  for (size_t i = 0; i < kThree.size(); ++i) {
    if (kThree[i] != 2) {
      labels.push_back(kThree[i]);
      outputs.insert(outputs.end(), kThreeOutputs.begin() + 3 * i, kThreeOutputs.begin() + 3 * (i + 1));
    }
  }
  // roc_auc_score takes no such labels: the mean of its scores of class 0 and of class 1, each against the rest.
  EXPECT_THAT(OfClasses(outputs, labels)["auroc"], DoubleNear(0.6875, kExact));
  EXPECT_THAT(OfClasses(outputs, labels)["f1"], DoubleNear(0.38095238095238093, kExact));
}

TEST(Scores, ThatAreUndefinedAreNotReported) {
  EXPECT_THAT(OfClasses({0, 1, 1, 0}, {0, 0}), UnorderedElementsAre(Pair("accuracy", 0.5), Pair("f1", 0))) << "one class alone";
  EXPECT_THAT(OfClasses({1, 0, 1, 0}, {0, 0}), UnorderedElementsAre(Pair("accuracy", 1))) << "neither labelled nor predicted 1";
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(OfClasses({nan, nan, 1, 0}, {0, 1}).count("auroc"), 0u);
  EXPECT_THAT(Scores(kOfClasses).Metrics(0, 1), IsEmpty()) << "nothing was judged";
}

TEST(Scores, OfNumbersAreInTheirUnit) {
  const MetricKind asked[] = {MetricKind::kRmse};
  Scores scores(asked);
  Batch batch;
  batch.rows = 4;
  batch.values = {1, -1.5f, 1.25f, 3.5f};
  scores.Add({1.5f, -2, .25f, 4}, batch);
  EXPECT_THAT(scores.Metrics(0, 1), UnorderedElementsAre(Pair("rmse", DoubleNear(0.6614378277661477, kExact))));
  EXPECT_THAT(scores.Metrics(0, 20), UnorderedElementsAre(Pair("rmse", DoubleNear(20 * 0.6614378277661477, 20 * kExact))));
}

TEST(Scores, PerplexityNeedsTheLossAlone) {
  const MetricKind asked[] = {MetricKind::kPerplexity};
  const Scores scores(asked);
  EXPECT_FALSE(scores.needs_outputs());
  EXPECT_THAT(scores.Metrics(std::log(20.0), 1), UnorderedElementsAre(Pair("perplexity", DoubleNear(20, 1e-9))));
  EXPECT_THAT(scores.Metrics(1e6, 1), IsEmpty()) << "beyond what a number can be";
}

}  // namespace
}  // namespace tributary::worker
