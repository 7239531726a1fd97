#include "worker/consent.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/exit_codes.h"
#include "proto/config/yaml.h"
#include "tests/worker/engine_driver.h"
#include "worker/disclosure.h"

namespace tributary::worker {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

// As of a worker.yaml that says no more than it must, and `more`.
v1::ConsentConfig DefaultConsent(const std::string& more = "") {
  v1::WorkerConfig config;
  const absl::Status status = ParseYaml(absl::StrCat("federation: f\nsite: s\ncoordinator: a:1\ndata: d\nstate_dir: e\nconsent:\n",
                                                     "  runs: ['*']\n  models: [gpt, mlp]\n", more),
                                        "worker.yaml", &config);
  EXPECT_TRUE(status.ok()) << status;
  return config.consent();
}

v1::RunSpec SpecOf(v1::OptimizerSpec::Mode mode, uint32_t batch, uint32_t local_steps = 1) {
  v1::RunSpec spec = MakeSpec();
  spec.mutable_optimizer()->set_mode(mode);
  spec.mutable_optimizer()->set_local_steps(local_steps);
  spec.mutable_data()->set_batch_size(batch);
  return spec;
}

std::string AnswerTo(const v1::RunSpec& spec, const std::string& more = "") {
  return std::string(Agree(DefaultConsent(more), spec).status().message());
}

std::string RefusalOf(const v1::RunSpec& spec, uint64_t parameters = 10, uint32_t local_steps = 1) {
  return std::string(CheckConsent(MakeConsent(), spec, {.parameters = parameters, .local_steps = local_steps}).message());
}

TEST(PatternTest, AStarStandsForAnyCharactersAlsoNone) {
  EXPECT_TRUE(MatchesPattern("bible-*", "bible-1"));
  EXPECT_TRUE(MatchesPattern("bible-*", "bible-"));
  EXPECT_TRUE(MatchesPattern("*", ""));
  EXPECT_TRUE(MatchesPattern("a*b*c", "aXbYbZc"));
  EXPECT_TRUE(MatchesPattern("**", "x"));
  EXPECT_FALSE(MatchesPattern("bible-*", "bibl-1"));
  EXPECT_FALSE(MatchesPattern("a*b*c", "aXbYbZ"));
  EXPECT_FALSE(MatchesPattern("", "x"));
}

TEST(PatternTest, WithoutAStarTheNameMustBeEqual) {
  EXPECT_TRUE(MatchesPattern("bible", "bible"));
  EXPECT_FALSE(MatchesPattern("bible", "bible-1"));
}

TEST(PatternTest, ManyStarsDoNotTakeExponentialTime) {
  EXPECT_FALSE(MatchesPattern(std::string(40, '*') + std::string("a*a*a*a*a*a*a*b"), std::string(2000, 'a')));
}

TEST(ConsentTest, ARunWithinAllLimitsIsAccepted) {
  EXPECT_EQ(CheckConsent(MakeConsent(), MakeSpec(), {.parameters = 1000, .local_steps = 4}), absl::OkStatus());
}

TEST(ConsentTest, ARefusalNamesTheRuleAndBothValues) {
  EXPECT_THAT(RefusalOf(MakeSpec("koran-1")), AllOf(HasSubstr("consent.runs"), HasSubstr("'bible-*'"), HasSubstr("'koran-1'")));

  v1::RunSpec gpt = MakeSpec();
  gpt.mutable_model()->mutable_gpt();
  EXPECT_THAT(RefusalOf(gpt), AllOf(HasSubstr("consent.models"), HasSubstr("mlp"), HasSubstr("gpt")));

  EXPECT_THAT(RefusalOf(MakeSpec(), 10, 5), AllOf(HasSubstr("consent.max_local_steps"), HasSubstr("at most 4"), HasSubstr("5")));

  v1::RunSpec rounds = MakeSpec();
  rounds.set_rounds(101);
  EXPECT_THAT(RefusalOf(rounds), AllOf(HasSubstr("consent.max_rounds"), HasSubstr("at most 100"), HasSubstr("101")));

  EXPECT_THAT(RefusalOf(MakeSpec(), 1001), AllOf(HasSubstr("consent.max_parameters"), HasSubstr("at most 1000"), HasSubstr("1001")));
}

TEST(ConsentTest, TheDefaultsRefuseRunsFromWhoseUpdatesASampleCanBeRead) {
  EXPECT_EQ(AnswerTo(SpecOf(v1::OptimizerSpec::ALLREDUCE, 8)), "");
  v1::RunSpec one = SpecOf(v1::OptimizerSpec::ALLREDUCE, 1);
  one.mutable_optimizer()->set_clip_norm(0);
  EXPECT_THAT(AnswerTo(one), AllOf(HasSubstr("consent.min_batch_size"), HasSubstr("at least 8"), HasSubstr("batches of 1")));
  EXPECT_THAT(AnswerTo(one, "  min_batch_size: 1\n"), HasSubstr("consent.allow_unclipped"));
  EXPECT_THAT(
      AnswerTo(one, "  min_batch_size: 1\n  allow_unclipped: true\n"),
      AllOf(HasSubstr("consent.allow_small_gradients"), HasSubstr("mode allreduce"), HasSubstr("1 local step and has batches of 1")));
  EXPECT_EQ(AnswerTo(one, "  min_batch_size: 1\n  allow_unclipped: true\n  allow_small_gradients: true\n"), "");
}

TEST(ConsentTest, AGradientIsSmallWhereItIsSentValueByValueAndNothingElseIsInIt) {
  const std::string small = "  min_batch_size: 1\n";
  EXPECT_THAT(AnswerTo(SpecOf(v1::OptimizerSpec::SIGNSGD, 7), small), HasSubstr("allow_small_gradients"));
  EXPECT_THAT(AnswerTo(SpecOf(v1::OptimizerSpec::FEDAVG, 7), small), HasSubstr("allow_small_gradients"));
  EXPECT_EQ(AnswerTo(SpecOf(v1::OptimizerSpec::FEDAVG, 7, 20), small), "");
  v1::RunSpec sparse = SpecOf(v1::OptimizerSpec::DISTRO, 1);
  EXPECT_EQ(AnswerTo(sparse, small), "");
  sparse.mutable_optimizer()->set_k(4096);
  EXPECT_THAT(AnswerTo(sparse, small), HasSubstr("allow_small_gradients"));
}

TEST(ConsentTest, WhatARunAsksOfTheMachineAndOfItsModelIsBounded) {
  EXPECT_THAT(AnswerTo(SpecOf(v1::OptimizerSpec::DISTRO, 65536)), AllOf(HasSubstr("consent.max_batch_size"), HasSubstr("at most 1024")));
  EXPECT_THAT(AnswerTo(SpecOf(v1::OptimizerSpec::DISTRO, 8), "  modes: [local, fedavg]\n"),
              AllOf(HasSubstr("consent.modes of this site allows local, fedavg"), HasSubstr("mode distro")));
  v1::RunSpec given = SpecOf(v1::OptimizerSpec::DISTRO, 8);
  given.mutable_model()->set_initial_weights("trap.safetensors");
  EXPECT_EQ(AnswerTo(given), "");
  EXPECT_THAT(AnswerTo(given, "  allow_initial_weights: false\n"), HasSubstr("consent.allow_initial_weights"));
  v1::RunSpec evaluates = SpecOf(v1::OptimizerSpec::DISTRO, 8);
  evaluates.mutable_evaluation()->set_batches(1001);
  EXPECT_THAT(AnswerTo(evaluates), HasSubstr("consent.max_evaluation_batches"));
}

TEST(ConsentTest, ARunWhoseBoundIsBelowTheMedianNormIsRefused) {
  v1::RunSpec spec = SpecOf(v1::OptimizerSpec::FEDAVG, 8);
  spec.mutable_optimizer()->set_norm_bound(0.5);
  EXPECT_THAT(AnswerTo(spec), HasSubstr("norm_bound is 0.5; allowed: 0 (no bound), or 1 to 1e6"));
}

TEST(ConsentTest, ARoundHasNoFewerLocalStepsThanItsRun) {
  const v1::ConsentConfig consent = DefaultConsent();
  const RunSize size{.local_steps = 20};
  EXPECT_EQ(CheckRound(consent, size, 20, 0.1F), absl::OkStatus());
  EXPECT_THAT(std::string(CheckRound(consent, size, 1, 0.1F).message()), AllOf(HasSubstr("agreed to 20"), HasSubstr("asks for 1")));
}

v1::RunSpec TimedSpec() {
  v1::RunSpec spec = SpecOf(v1::OptimizerSpec::FEDAVG, 8, 0);
  spec.mutable_optimizer()->mutable_local_time()->set_seconds(30);
  return spec;
}

// After two steps an update is no gradient any more; how many more they are is this site's.
TEST(ConsentTest, ARunWhoseSitesCountTheirStepsTakesTwoAtLeast) {
  EXPECT_EQ(AnswerTo(TimedSpec(), "  min_batch_size: 1\n"), "");
  EXPECT_THAT(AnswerTo(TimedSpec(), "  max_local_steps: 1\n"),
              AllOf(HasSubstr("consent.max_local_steps of this site allows at most 1"), HasSubstr("at least 2 local steps")));
}

TEST(ConsentTest, WhatATimedRoundScalesUpdatesToIsNoNumberOfStepsToTake) {
  const v1::ConsentConfig consent = DefaultConsent();
  const RunSize size = *SizeOf(TimedSpec());
  EXPECT_EQ(CheckRound(consent, size, 2, 0.1F), absl::OkStatus());
  EXPECT_EQ(CheckRound(consent, size, 100000, 0.1F), absl::OkStatus()) << "others may take more than the 100 of this consent";
  EXPECT_THAT(std::string(CheckRound(consent, size, 1, 0.1F).message()), HasSubstr("agreed to 2"));
  EXPECT_THAT(std::string(CheckRound(consent, size, 100001, 0.1F).message()), HasSubstr("no site takes more than 100000"));
}

TEST(DisclosureTest, SaysThatTheNumberOfStepsIsTold) {
  EXPECT_THAT(*Disclosure(TimedSpec(), Reported::kWithoutLosses),
              AllOf(HasSubstr("what at least 2 steps on 8 samples each have changed"), HasSubstr("and how many steps it took")));
}

TEST(DisclosureTest, SaysWhatOneUpdateTellsOfHowManySamples) {
  v1::RunSpec spec = SpecOf(v1::OptimizerSpec::ALLREDUCE, 1);
  spec.mutable_optimizer()->set_clip_norm(1e-50);  // 0 in fp32
  EXPECT_EQ(
      *Disclosure(spec, Reported::kAll),
      "each round every value of the gradient of 1 sample, not clipped; its training loss, and every 25 rounds a validation loss; how "
      "long it computed; once a digest of its columns' names");
  spec.mutable_evaluation()->add_metrics("accuracy");
  EXPECT_THAT(*Disclosure(spec, Reported::kAll), HasSubstr("every 25 rounds a validation loss and accuracy; "));
  spec.mutable_evaluation()->add_metrics("auroc");
  EXPECT_THAT(*Disclosure(spec, Reported::kAll), HasSubstr("every 25 rounds a validation loss, accuracy and auroc; "));
  EXPECT_THAT(*Disclosure(spec, Reported::kWithoutLosses), Not(HasSubstr("auroc")));
  EXPECT_EQ(*Disclosure(SpecOf(v1::OptimizerSpec::FEDAVG, 8, 20), Reported::kWithoutLosses),
            "each round every value of what 20 steps on 8 samples each have changed in the model, their gradients clipped to a norm of 1; "
            "how long it computed; once a digest of its columns' names");
  EXPECT_THAT(*Disclosure(SpecOf(v1::OptimizerSpec::DISTRO, 8), Reported::kWithoutLosses),
              HasSubstr("the 32 largest of every 4096 components, in few bits, of what has gathered of the gradient of 8 samples"));
}

TEST(ConsentTest, ARefusalCarriesItsExitCode) {
  EXPECT_EQ(ExitCodeOf(CheckConsent(MakeConsent(), MakeSpec("other"), {.parameters = 1, .local_steps = 1})), ExitCode::kConsent);
}

TEST(ConsentTest, AModelKindThatDoesNotExistIsAMistake) {
  v1::ConsentConfig consent = MakeConsent();
  EXPECT_EQ(ValidateConsent(consent), absl::OkStatus());
  consent.add_models("resnet");
  EXPECT_THAT(std::string(ValidateConsent(consent).message()), AllOf(HasSubstr("resnet"), HasSubstr("gpt")));
}

}  // namespace
}  // namespace tributary::worker
