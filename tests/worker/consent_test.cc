#include "worker/consent.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/exit_codes.h"
#include "tests/worker/engine_driver.h"

namespace tributary::worker {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

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
