// Three of sixteen sites hostile, in short; tests/bench/robustness.cc has the long form.
#include "gtest/gtest.h"
#include "optim/modes.h"
#include "tests/support/toy_federation.h"

namespace tributary::optim {
namespace {

OptimizerOptions Options(Mode mode, float norm_bound) {
  OptimizerOptions options = Defaults(mode);
  options.rounds = 120;
  options.k = options.commit_k = 256;
  options.weight_decay = 0;
  options.learning_rate.peak = mode == Mode::kDemo ? 1e-2 : 2e-2;
  options.beta = 0.95f;
  options.local_steps = DirectionOf(mode) == optim::Direction::kPseudoGradient ? 3 : 1;
  options.norm_bound = norm_bound;
  return options;
}

double AccuracyOf(const OptimizerOptions& options, Attack attack, double skew = 2, uint64_t seed = 1) {
  static const Table& table = *new Table(MakeClouds(1200, 5));
  const ToyFederation federation{.hidden = 16, .rounds = options.rounds, .batch = 16, .skew = skew, .seed = seed};
  return Accuracy(federation, options, attack, table);
}

TEST(RobustnessTest, LargeUpdatesDestroyTheModelUnlessTheirNormIsBounded) {
  for (const Mode mode : {Mode::kAllReduce, Mode::kFedAvg, Mode::kLocal, Mode::kDemo}) {
    SCOPED_TRACE(ModeName(mode));
    const double honest = AccuracyOf(Options(mode, 1), Attack::kNone);
    RecordProperty("honest", static_cast<int>(honest * 1000));
    EXPECT_GT(honest, 0.8);
    EXPECT_LT(AccuracyOf(Options(mode, 0), Attack::kSignFlip), honest - 0.3);
    EXPECT_GT(AccuracyOf(Options(mode, 1), Attack::kSignFlip), honest - 0.08);
  }
}

TEST(RobustnessTest, TheRulesHoldAgainstWhatABoundLetsThrough) {
  for (const Aggregation aggregation : {Aggregation::kTrimmedMean, Aggregation::kMedian}) {
    OptimizerOptions options = Options(Mode::kFedAvg, 0);
    const double honest = AccuracyOf(options, Attack::kNone);
    options.aggregation = aggregation;
    EXPECT_GT(AccuracyOf(options, Attack::kSignFlip), honest - 0.08) << AggregationName(aggregation);
    EXPECT_GT(AccuracyOf(options, Attack::kScaledNoise), honest - 0.08) << AggregationName(aggregation);
  }
  OptimizerOptions options = Options(Mode::kDemo, 0);
  options.aggregation = Aggregation::kSignVote;
  EXPECT_GT(AccuracyOf(options, Attack::kSignFlip), AccuracyOf(options, Attack::kNone) - 0.08);
}

TEST(RobustnessTest, WhoAsksHowSitesAgreeHoldsAgainstThoseThatPushBackwards) {
  for (const Mode mode : {Mode::kDistro, Mode::kSignSgd}) {
    SCOPED_TRACE(ModeName(mode));
    OptimizerOptions options = Options(mode, 0);
    options.rounds = 100;
    options.k = options.commit_k = 64;
    const auto accuracy = [&options](Attack attack) { return AccuracyOf(options, attack, 0.5, 2); };
    const double honest = accuracy(Attack::kNone);
    const double mean = accuracy(Attack::kInnerProduct);
    options.aggregation = Aggregation::kAgreement;
    EXPECT_EQ(accuracy(Attack::kNone), honest) << "no site is left out";
    EXPECT_GT(accuracy(Attack::kInnerProduct), honest - 0.04);
    EXPECT_LT(mean, honest - 0.06);
  }
}

}  // namespace
}  // namespace tributary::optim
