#include "coordinator/run/round_engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "tests/coordinator/run/round_engine_support.h"

namespace tributary::coordinator {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Kind = UpdateVerdict::Kind;

TEST_F(RoundEngineTest, WaitsForMinWorkersAndSaysForWhomAndUntilWhen) {
  Start();
  EXPECT_THAT(Ready("berlin"), IsEmpty());
  membership_.Connected("paris", now_);
  membership_.Set("paris", Presence::kRefused, "consent.runs does not cover it");
  Step(MembersChanged{});
  EXPECT_EQ(engine_->state(), v1::WAITING);
  EXPECT_EQ(engine_->reason(),
            "round 1: waiting for 1 more of 2 workers until 00:05:00 UTC (ready: berlin; refused: paris (consent.runs does not cover it))");
  EXPECT_EQ(engine_->wake_at(), now_ + absl::Minutes(5));
}

TEST_F(RoundEngineTest, StartsARoundWithTheReadySites) {
  Start();
  Ready("oslo");
  const std::vector<Action> actions = Ready("berlin");
  ASSERT_NE(Only<StartRound>(actions), nullptr);
  EXPECT_EQ(Only<StartRound>(actions)->round, 1u);
  EXPECT_THAT(Only<StartRound>(actions)->members, ElementsAre("berlin", "oslo"));
  EXPECT_EQ(engine_->state(), v1::RUNNING);
  EXPECT_EQ(engine_->reason(), "round 1: 0 of 2 updates in; waiting for berlin, oslo until 00:01:00 UTC");
}

TEST_F(RoundEngineTest, FailsTheRunWhenTooFewSitesComeInTimeAndQuotesTheirRefusals) {
  Start();
  Connect("paris");
  membership_.Set("paris", Presence::kRefused, "runs of this name are not allowed");
  EXPECT_THAT(After(absl::Minutes(4)), IsEmpty());
  const std::vector<Action> actions = After(absl::Minutes(1));
  ASSERT_NE(Only<EndRun>(actions), nullptr);
  EXPECT_EQ(Only<EndRun>(actions)->state, v1::FAILED);
  EXPECT_EQ(Only<EndRun>(actions)->reason,
            "round 1 could not start: waited 5m for 2 more of 2 workers (refused: paris (runs of this name are not allowed))");
  EXPECT_EQ(engine_->state(), v1::FAILED);
  EXPECT_THAT(Ready("berlin"), IsEmpty()) << "nothing happens after the end";
  EXPECT_EQ(engine_->wake_at(), absl::InfiniteFuture());
}

TEST_F(RoundEngineTest, TakesAtMostMaxWorkersAndLetsAllHaveTheirTurn) {
  RoundPolicy policy = Policy();
  policy.min_workers = 2;
  policy.max_workers = 2;
  Start(policy);
  membership_.Connected("a", now_);
  membership_.Connected("b", now_);
  membership_.Connected("c", now_);
  for (const char* site : {"a", "b", "c"}) {
    connected_.insert(site);
    membership_.Set(site, Presence::kReady);
  }
  EXPECT_THAT(Only<StartRound>(Step(MembersChanged{}))->members, ElementsAre("a", "b"));
  Accept("a");
  Accept("b");
  EXPECT_THAT(Only<StartRound>(Commit())->members, ElementsAre("a", "c"));
  Accept("a");
  Accept("c");
  EXPECT_THAT(Only<StartRound>(Commit())->members, ElementsAre("b", "c"));
}

TEST_F(RoundEngineTest, ClosesWhenAllAreInAndStartsTheNextRound) {
  StartRoundWith({"berlin", "oslo"});
  EXPECT_THAT(Accept("oslo"), IsEmpty());
  const std::vector<Action> actions = Accept("berlin");
  ASSERT_NE(Only<CloseRound>(actions), nullptr);
  EXPECT_THAT(Only<CloseRound>(actions)->included, ElementsAre("berlin", "oslo"));
  EXPECT_THAT(Only<CloseRound>(actions)->stragglers, IsEmpty());
  EXPECT_EQ(engine_->reason(), "round 1: committing 2 of 2 updates");
  const std::vector<Action> next = Commit();
  ASSERT_NE(Only<StartRound>(next), nullptr);
  EXPECT_EQ(Only<StartRound>(next)->round, 2u);
  EXPECT_EQ(engine_->state_hash(), "h1");
}

TEST_F(RoundEngineTest, ASkipCountsAsAnAnswer) {
  StartRoundWith({"berlin", "oslo"});
  Accept("oslo");
  const std::vector<Action> actions = Step(UpdateSkipped{"berlin", 1, "the gradient is not finite"});
  ASSERT_NE(Only<CloseRound>(actions), nullptr);
  EXPECT_THAT(Only<CloseRound>(actions)->included, ElementsAre("oslo"));
  EXPECT_THAT(Only<CloseRound>(actions)->stragglers, IsEmpty()) << "it answered";
}

TEST_F(RoundEngineTest, ASkipOfAnotherRoundCountsForNothing) {
  StartRoundWith({"berlin", "oslo"});
  Accept("oslo");
  EXPECT_THAT(Step(UpdateSkipped{"berlin", 2, "?"}), IsEmpty());
}

TEST_F(RoundEngineTest, ClosesAtTheDeadlineWithAQuorum) {
  StartRoundWith({"a", "b", "c", "d"});
  Accept("a");
  Accept("b");
  EXPECT_THAT(After(absl::Seconds(59)), IsEmpty());
  EXPECT_EQ(engine_->wake_at(), now_ + absl::Seconds(1));
  const std::vector<Action> actions = After(absl::Seconds(1));
  ASSERT_NE(Only<CloseRound>(actions), nullptr);
  EXPECT_THAT(Only<CloseRound>(actions)->included, ElementsAre("a", "b"));
  EXPECT_THAT(Only<CloseRound>(actions)->stragglers, ElementsAre("c", "d"));
}

TEST_F(RoundEngineTest, BelowQuorumItWaitsOnAndClosesWithTheUpdateThatMakesIt) {
  StartRoundWith({"a", "b", "c"});
  Accept("a");
  EXPECT_THAT(After(absl::Seconds(60)), IsEmpty());
  EXPECT_TRUE(engine_->short_of_quorum());
  EXPECT_EQ(engine_->reason(), "round 1: 1 of 3 updates in, 2 needed and the deadline has passed; waiting for b, c until 00:06:00 UTC");
  EXPECT_EQ(engine_->wake_at(), now_ + absl::Minutes(5));
  const std::vector<Action> actions = Accept("c");
  ASSERT_NE(Only<CloseRound>(actions), nullptr);
  EXPECT_THAT(Only<CloseRound>(actions)->stragglers, ElementsAre("b"));
}

TEST_F(RoundEngineTest, BelowQuorumForTooLongTheRunFailsAndSaysWhoWasMissing) {
  StartRoundWith({"a", "b", "c"});
  Accept("a");
  Step(UpdateRefused{"c", "block wte: index 9 of 8"});
  After(absl::Seconds(60));
  const std::vector<Action> actions = After(absl::Minutes(5));
  ASSERT_NE(Only<EndRun>(actions), nullptr);
  EXPECT_EQ(Only<EndRun>(actions)->state, v1::FAILED);
  EXPECT_EQ(Only<EndRun>(actions)->reason,
            "round 1: 1 of 3 updates in, 2 needed; waited 5m beyond the deadline for b (c was refused: block wte: index 9 of 8)");
}

TEST_F(RoundEngineTest, ALostSessionIsWaitedForUntilItsLeaseEnds) {
  StartRoundWith({"a", "b", "c"});
  Accept("a");
  Accept("b");
  EXPECT_THAT(Drop("c"), IsEmpty());
  EXPECT_THAT(After(absl::Seconds(29)), IsEmpty());
  const std::vector<Action> actions = After(absl::Seconds(1));
  ASSERT_NE(Only<CloseRound>(actions), nullptr) << engine_->reason();
  EXPECT_THAT(Only<CloseRound>(actions)->stragglers, ElementsAre("c"));
}

TEST_F(RoundEngineTest, ASiteThatComesBackWithinItsLeaseIsToldItsRoundAgain) {
  StartRoundWith({"a", "b"});
  Drop("b");
  After(absl::Seconds(10));
  const std::vector<Action> actions = Ready("b");
  ASSERT_NE(Only<TellRound>(actions), nullptr);
  EXPECT_EQ(Only<TellRound>(actions)->site, "b");
  EXPECT_FALSE(Only<TellRound>(actions)->update_held);
  Accept("a");
  EXPECT_NE(Only<CloseRound>(Accept("b")), nullptr);
}

TEST_F(RoundEngineTest, ASiteWhoseUpdateIsHeldIsToldSo) {
  StartRoundWith({"a", "b"});
  Accept("b");
  Drop("b");
  const std::vector<Action> actions = Ready("b");
  ASSERT_NE(Only<TellRound>(actions), nullptr);
  EXPECT_TRUE(Only<TellRound>(actions)->update_held);
}

TEST_F(RoundEngineTest, WithoutAQuorumGoneSitesMayComeBackUntilTheRunFails) {
  StartRoundWith({"a", "b"});
  Drop("a");
  Drop("b");
  EXPECT_THAT(After(absl::Seconds(31)), IsEmpty());
  EXPECT_THAT(engine_->reason(), HasSubstr("waiting for a (gone), b (gone)"));
  EXPECT_NE(Only<TellRound>(Ready("b")), nullptr);
  EXPECT_NE(Only<CloseRound>(Accept("b")), nullptr) << "quorum is 1 and the other one is gone";
}

TEST_F(RoundEngineTest, ARoundWhoseMembersLeftGoesOnWithTheSitesThatAreReady) {
  RoundPolicy policy = Policy();
  policy.min_workers = 2;
  policy.quorum = 1;
  Start(policy);
  Ready("a");
  Ready("b");
  Accept("a");
  Drop("b");
  EXPECT_THAT(Ready("c"), IsEmpty()) << "b may still come back";
  const std::vector<Action> actions = After(absl::Seconds(31));
  ASSERT_NE(Only<StartRound>(actions), nullptr);
  EXPECT_EQ(Only<StartRound>(actions)->round, 1u);
  EXPECT_THAT(Only<StartRound>(actions)->members, ElementsAre("a", "c"));
  EXPECT_TRUE(engine_->HoldsUpdateOf("a"));
  const std::vector<Action> closing = Accept("c");
  ASSERT_NE(Only<CloseRound>(closing), nullptr);
  EXPECT_THAT(Only<CloseRound>(closing)->included, ElementsAre("a", "c"));
}

TEST_F(RoundEngineTest, UpdatesThatBecameDurableTogetherAreAllInTheRoundThatTheyClose) {
  StartRoundWith({"a", "b", "c", "d"});
  After(absl::Seconds(61));  // from now on the quorum closes it
  EXPECT_THAT(Only<CloseRound>(Step(UpdatesAccepted{{{"a", "1"}, {"b", "2"}, {"c", "3"}}}))->included, ElementsAre("a", "b", "c"));
}

TEST_F(RoundEngineTest, ASiteThatBecomesReadyDuringARoundJoinsTheNext) {
  StartRoundWith({"a", "b"});
  EXPECT_THAT(Ready("c"), IsEmpty());
  EXPECT_EQ(engine_->Judge("c", 1, "h0", "x").kind, Kind::kRefused);
  Accept("a");
  Accept("b");
  EXPECT_THAT(Only<StartRound>(Commit())->members, ElementsAre("a", "b", "c"));
}

TEST_F(RoundEngineTest, JudgesUpdates) {
  StartRoundWith({"a", "b"});
  Accept("a");
  EXPECT_EQ(engine_->Judge("b", 1, "h0", "x").kind, Kind::kAcceptable);
  EXPECT_EQ(engine_->Judge("a", 1, "h0", "digest of a").kind, Kind::kDuplicate);
  EXPECT_EQ(engine_->Judge("a", 1, "h0", "another").kind, Kind::kConflict);
  EXPECT_EQ(engine_->Judge("b", 1, "other", "x").kind, Kind::kWrongBase);
  EXPECT_EQ(engine_->Judge("b", 1, "other", "x").reason, "computed from a state other than state[0]");
  EXPECT_EQ(engine_->Judge("b", 0, "h0", "x").kind, Kind::kLate);
  EXPECT_EQ(engine_->Judge("b", 2, "h0", "x").kind, Kind::kRefused);
  EXPECT_EQ(engine_->Judge("b", 2, "h0", "x").reason, "round 2 is not open: round 1 is");
  EXPECT_EQ(engine_->Judge("c", 1, "h0", "x").reason, "c is not a member of round 1: it became ready after the round had started");
  Accept("b");
  Commit();
  EXPECT_EQ(engine_->Judge("b", 1, "h0", "digest of b").kind, Kind::kLate);
}

TEST_F(RoundEngineTest, AnotherUpdateBesideTheOneThatCountsIsAConflictAlsoWhenTheRoundIsCommitted) {
  StartRoundWith({"a", "b"});
  Accept("a");
  EXPECT_EQ(engine_->Judge("a", 1, "h0", "another").accepted_digest, "digest of a");
  Accept("b");
  Commit();
  EXPECT_EQ(engine_->Judge("a", 1, "h0", "another").kind, Kind::kConflict);
  EXPECT_EQ(engine_->Judge("a", 1, "h0", "another").accepted_digest, "digest of a");
}

TEST_F(RoundEngineTest, AfterARejectionAnotherUpdateOfTheSiteIsStillWelcome) {
  StartRoundWith({"a", "b"});
  Step(UpdateRefused{"a", "truncated"});
  EXPECT_EQ(engine_->Judge("a", 1, "h0", "x").kind, Kind::kAcceptable);
  Accept("a");
  EXPECT_THAT(Only<CloseRound>(Accept("b"))->included, ElementsAre("a", "b"));
}

TEST_F(RoundEngineTest, TheDeadlineFollowsPastArrivals) {
  RoundPolicy policy = Policy();
  policy.rounds = 100;
  StartRoundWith({"a", "b"}, policy);
  EXPECT_EQ(engine_->deadline() - now_, absl::Seconds(60)) << "without a past: the ceiling";
  CommitRoundAfter(absl::Seconds(30));
  EXPECT_EQ(engine_->deadline() - now_, absl::Seconds(60)) << "the first round, which evaluated, says nothing about those that do not";
  CommitRoundAfter(absl::Seconds(10));
  EXPECT_EQ(engine_->deadline() - now_, absl::Seconds(16)) << "median 10 s + 6 x (median / 10)";
  After(absl::Seconds(10));
  Accept("a");
  After(absl::Seconds(4));
  Accept("b");
  Commit();
  EXPECT_EQ(engine_->deadline() - now_, absl::Seconds(16)) << "10, 10, 10, 14: the spread is still the median's tenth";
}

TEST_F(RoundEngineTest, TheDeadlineRemembersPastArrivalsOverARestart) {
  RoundPolicy policy = Policy();
  policy.rounds = 100;
  StartRoundWith({"a", "b"}, policy);
  CommitRoundAfter(absl::Seconds(30));
  CommitRoundAfter(absl::Seconds(10));
  RunPosition position{.committed = 2, .state_hash = "h2", .base_state_hash = "h2", .open = std::nullopt};
  position.arrivals = engine_->arrivals();
  EXPECT_THAT(position.arrivals[0], ElementsAre(absl::Seconds(10), absl::Seconds(10)));
  EXPECT_THAT(position.arrivals[1], ElementsAre(absl::Seconds(30), absl::Seconds(30)));
  Start(policy, position);
  Step(MembersChanged{});
  EXPECT_EQ(engine_->open_round(), 3u);
  EXPECT_EQ(engine_->deadline() - now_, absl::Seconds(16));
  position.open = RunPosition::OpenRound{3, {"a", "b"}, {}};
  Start(policy, position);
  EXPECT_EQ(engine_->deadline() - now_, absl::Seconds(16)) << "also that of a round found open";
}

TEST_F(RoundEngineTest, RoundsWithAnEvaluationHaveDeadlinesOfTheirOwn) {
  RoundPolicy policy = Policy();
  policy.rounds = 100;
  policy.evaluate_every = 2;
  StartRoundWith({"a", "b"}, policy);
  CommitRoundAfter(absl::Seconds(20));
  CommitRoundAfter(absl::Seconds(10));
  EXPECT_EQ(engine_->deadline() - now_, absl::Seconds(32)) << "round 3 evaluates, as round 1 did";
  CommitRoundAfter(absl::Seconds(20));
  EXPECT_EQ(engine_->deadline() - now_, absl::Seconds(16)) << "round 4 does not";
}

TEST_F(RoundEngineTest, TheDeadlineStaysBetweenFloorAndCeiling) {
  RoundPolicy policy = Policy();
  policy.rounds = 100;
  policy.min_deadline = absl::Seconds(5);
  StartRoundWith({"a", "b"}, policy);
  CommitRoundAfter(absl::ZeroDuration());
  CommitRoundAfter(absl::ZeroDuration());
  EXPECT_EQ(engine_->deadline() - now_, absl::Seconds(5));
}

// One answers within a second, the others after the deadline: without the late answers it could not grow.
TEST_F(RoundEngineTest, LateAnswersOfMembersMoveTheDeadlineUp) {
  RoundPolicy policy = Policy();
  policy.rounds = 100;
  policy.quorum = 0.3;
  StartRoundWith({"a", "b", "c"}, policy);
  now_ += absl::Seconds(1);
  for (const char* const site : {"a", "b", "c"}) {
    Accept(site);
  }
  Commit();
  for (int round = 2; round <= 6; ++round) {
    Accept("a");
    After(engine_->deadline() - now_);
    Commit();
    now_ += absl::Seconds(30);
    for (const char* const site : {"b", "c"}) {
      Step(UpdateCameLate{site, engine_->committed()});
    }
  }
  EXPECT_GT(engine_->arrivals()[0].size(), 12u);
  Accept("a");
  Accept("b");
  Accept("c");
  Commit();
  EXPECT_GT(engine_->deadline() - now_, absl::Seconds(30));
}

TEST_F(RoundEngineTest, OnlyAMembersFirstAnswerToARoundItWasOfferedIsEvidence) {
  RoundPolicy policy = Policy();
  policy.rounds = 100;
  policy.min_workers = 2;
  StartRoundWith({"a", "b"}, policy);
  Accept("a");
  After(absl::Seconds(60));
  Connect("stranger");
  Commit();
  const std::vector<absl::Duration> before = engine_->arrivals()[1];
  ASSERT_EQ(before.size(), 1u);
  for (int i = 0; i < 300; ++i) {
    now_ += absl::Seconds(1);
    Step(UpdateCameLate{"a", 1});         // has answered
    Step(UpdateCameLate{"stranger", 1});  // is no member
    Step(UpdateCameLate{"b", 0});         // is of no round
  }
  EXPECT_EQ(engine_->arrivals()[1], before);
  Step(UpdateCameLate{"b", 1});
  Step(UpdateCameLate{"b", 1});
  EXPECT_EQ(engine_->arrivals()[1].size(), 2u) << "once";
}

TEST_F(RoundEngineTest, AMemberThatStaysSilentIsNotWaitedForAfterThreeRounds) {
  RoundPolicy policy = Policy();
  policy.rounds = 100;
  StartRoundWith({"a", "b", "c"}, policy);
  policy.min_workers = 2;
  Start(policy, {.committed = 0, .state_hash = "h0", .base_state_hash = "h0", .open = std::nullopt});
  Step(MembersChanged{});
  const SiteBenched* told = nullptr;
  std::vector<Action> closing;
  for (int round = 1; round <= 3; ++round) {
    EXPECT_TRUE(engine_->IsMember("c")) << "round " << round;
    Accept("a");
    Accept("b");
    EXPECT_EQ(engine_->BenchedUntil("c"), 0u);
    closing = After(engine_->deadline() - now_);
    Commit();
  }
  ASSERT_EQ(closing.size(), 2u);
  told = std::get_if<SiteBenched>(&closing[0]);
  ASSERT_NE(told, nullptr);
  EXPECT_EQ(told->site, "c");
  EXPECT_EQ(told->misses, 3);
  EXPECT_EQ(told->until, 5u);
  EXPECT_EQ(engine_->open_round(), 4u);
  EXPECT_FALSE(engine_->IsMember("c"));
  EXPECT_EQ(engine_->BenchedUntil("c"), 5u);
  EXPECT_THAT(engine_->Judge("c", 4, "h3", "x").reason, HasSubstr("benched until round 5"));
  Accept("a");
  EXPECT_NE(Only<CloseRound>(Accept("b")), nullptr) << "nobody waits for it";
  Commit();
  EXPECT_TRUE(engine_->IsMember("c")) << "round 5 tries it again";
  Accept("a");
  Accept("b");
  Accept("c");
  Commit();
  EXPECT_TRUE(engine_->IsMember("c"));
}

TEST_F(RoundEngineTest, ABenchedMemberPlaysOnWhereTheRunWouldWaitForIt) {
  RoundPolicy policy = Policy();
  policy.rounds = 100;
  StartRoundWith({"a", "b"}, policy);
  for (int round = 1; round <= 8; ++round) {
    ASSERT_EQ(engine_->open_round(), static_cast<uint64_t>(round));
    EXPECT_TRUE(engine_->IsMember("b")) << "two workers are needed";
    Accept("a");
    After(engine_->deadline() - now_);
    Commit();
  }
}

TEST_F(RoundEngineTest, AfterTheLastCommitItWaitsForFinalReports) {
  RoundPolicy policy = Policy();
  policy.rounds = 1;
  StartRoundWith({"a", "b"}, policy);
  Accept("a");
  Accept("b");
  EXPECT_THAT(Commit(), IsEmpty());
  EXPECT_TRUE(engine_->reporting());
  EXPECT_EQ(engine_->reason(), "all 1 rounds committed; waiting for the final state of a, b until 00:01:00 UTC");
  EXPECT_THAT(Step(StateReported{"a"}), IsEmpty());
  const std::vector<Action> actions = Step(StateReported{"b"});
  ASSERT_NE(Only<EndRun>(actions), nullptr);
  EXPECT_EQ(Only<EndRun>(actions)->state, v1::FINISHED);
  EXPECT_EQ(Only<EndRun>(actions)->reason, "all 1 rounds committed");
}

TEST_F(RoundEngineTest, FinalReportsAreWaitedForOnlySoLong) {
  RoundPolicy policy = Policy();
  policy.rounds = 1;
  StartRoundWith({"a", "b"}, policy);
  Accept("a");
  Accept("b");
  Commit();
  Step(StateReported{"a"});
  const std::vector<Action> actions = After(absl::Seconds(60));
  ASSERT_NE(Only<EndRun>(actions), nullptr);
  EXPECT_EQ(Only<EndRun>(actions)->state, v1::FINISHED);
  EXPECT_EQ(Only<EndRun>(actions)->reason, "all 1 rounds committed; no report of the final state from b");
}

TEST_F(RoundEngineTest, ASiteThatLeavesIsNotWaitedForAtTheEnd) {
  RoundPolicy policy = Policy();
  policy.rounds = 1;
  StartRoundWith({"a", "b"}, policy);
  Accept("a");
  Accept("b");
  Commit();
  Step(StateReported{"a"});
  membership_.Left("b", "shutting down");
  EXPECT_NE(Only<EndRun>(Step(MembersChanged{})), nullptr);
}

TEST_F(RoundEngineTest, InAPipelinedRunUpdatesAreComputedFromTheStateBeforeTheLast) {
  RoundPolicy policy = Policy();
  policy.pipeline = true;
  policy.min_workers = 1;
  Start(policy);
  Ready("a");
  for (const auto& [round, base] : {std::pair(1, "h0"), std::pair(2, "h0"), std::pair(3, "h1")}) {
    ASSERT_EQ(engine_->open_round(), static_cast<uint64_t>(round));
    EXPECT_EQ(engine_->base_state_hash(), base);
    EXPECT_EQ(engine_->Judge("a", round, base, "digest").kind, Kind::kAcceptable);
    if (round > 1) {
      EXPECT_EQ(engine_->Judge("a", round, absl::StrCat("h", round - 1), "digest").kind, Kind::kWrongBase);
    }
    Accept("a");
    Commit();
  }
}

TEST_F(RoundEngineTest, ARoundThatARestartFoundOpenContinuesWithWhatWasAccepted) {
  RunPosition position{
      .committed = 4, .state_hash = "h4", .base_state_hash = "h4", .open = RunPosition::OpenRound{5, {"a", "b"}, {{"a", "digest of a"}}}};
  RoundPolicy policy = Policy();
  policy.rounds = 10;
  membership_.Expect("a", now_);
  membership_.Expect("b", now_);
  Start(policy, position);
  EXPECT_EQ(engine_->open_round(), 5u);
  EXPECT_THAT(Step(MembersChanged{}), IsEmpty()) << "b is given time to come back";
  const std::vector<Action> back = Ready("a");
  ASSERT_NE(Only<TellRound>(back), nullptr);
  EXPECT_TRUE(Only<TellRound>(back)->update_held);
  EXPECT_EQ(engine_->Judge("a", 5, "h4", "digest of a").kind, Kind::kDuplicate);
  Ready("b");
  const std::vector<Action> actions = Accept("b");
  ASSERT_NE(Only<CloseRound>(actions), nullptr);
  EXPECT_EQ(Only<CloseRound>(actions)->round, 5u);
}

TEST_F(RoundEngineTest, AfterARestartBehindTheLastCommitItAsksForReportsOnly) {
  membership_.Expect("a", now_);
  Start(Policy(), {.committed = 3, .state_hash = "h3", .base_state_hash = "h3", .open = std::nullopt});
  EXPECT_THAT(Step(MembersChanged{}), IsEmpty());
  EXPECT_NE(Only<EndRun>(Ready("a")), nullptr) << "ready at the last round: its state is known to agree";
}

TEST_F(RoundEngineTest, RoundsThatStayEmptyEndTheRunWithTheSitesReasons) {
  RoundPolicy policy = Policy();
  policy.rounds = 100;
  StartRoundWith({"a"}, policy);
  std::vector<Action> actions;
  for (int i = 0; i < 10; ++i) {
    ASSERT_NE(Only<CloseRound>(Step(UpdateSkipped{"a", engine_->open_round(), "the gradient is not finite"})), nullptr);
    actions = Commit();
  }
  ASSERT_NE(Only<EndRun>(actions), nullptr);
  EXPECT_EQ(Only<EndRun>(actions)->reason,
            "10 rounds in a row, up to round 10, brought no valid update (a skipped: the gradient is not finite)");
}

TEST_F(RoundEngineTest, LongListsOfNamesAreCut) {
  std::vector<std::string> sites;
  for (int i = 0; i < 12; ++i) {
    sites.push_back(absl::StrCat("site-", 10 + i));
  }
  StartRoundWith(sites);
  EXPECT_THAT(engine_->reason(), HasSubstr("site-17 and 4 more until"));
}

}  // namespace
}  // namespace tributary::coordinator
