// Stop, pause, resume, extend and drain.
#include "coordinator/run/round_engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "tests/coordinator/run/round_engine_support.h"

namespace tributary::coordinator {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

TEST_F(RoundEngineTest, AStopEndsAWaitingRunAtOnce) {
  Start();
  const std::vector<Action> actions = Step(StopRequested{"stopped by an operator: wrong data"});
  ASSERT_NE(Only<EndRun>(actions), nullptr);
  EXPECT_EQ(Only<EndRun>(actions)->state, v1::STOPPED);
  EXPECT_EQ(Only<EndRun>(actions)->reason, "stopped by an operator: wrong data");
}

TEST_F(RoundEngineTest, AStopLetsTheRoundInFlightEnd) {
  StartRoundWith({"a", "b"});
  EXPECT_THAT(Step(StopRequested{"enough"}), IsEmpty());
  Accept("a");
  EXPECT_NE(Only<CloseRound>(Accept("b")), nullptr);
  const std::vector<Action> actions = Commit();
  ASSERT_NE(Only<EndRun>(actions), nullptr);
  EXPECT_EQ(Only<EndRun>(actions)->state, v1::STOPPED);
}

TEST_F(RoundEngineTest, AStopDoesNotWaitBeyondTheDeadlineForAQuorum) {
  StartRoundWith({"a", "b", "c"});
  Step(StopRequested{"enough"});
  Accept("a");
  const std::vector<Action> actions = After(absl::Seconds(60));
  ASSERT_NE(Only<EndRun>(actions), nullptr);
  EXPECT_EQ(Only<EndRun>(actions)->reason, "enough (round 1: 1 of 3 updates in at its deadline, 2 needed: not committed)");
}

TEST_F(RoundEngineTest, APauseLetsTheRoundInFlightEndAndStartsNoOther) {
  StartRoundWith({"a", "b"});
  EXPECT_THAT(Step(PauseRequested{"paused by an operator: maintenance"}), IsEmpty());
  EXPECT_EQ(engine_->state(), v1::PAUSED);
  EXPECT_THAT(engine_->reason(), HasSubstr("paused by an operator: maintenance; round 1: 0 of 2 updates in; waiting for a, b until"));
  Accept("a");
  EXPECT_NE(Only<CloseRound>(Accept("b")), nullptr);
  EXPECT_THAT(Commit(), IsEmpty());
  EXPECT_EQ(engine_->state(), v1::PAUSED);
  EXPECT_EQ(engine_->reason(), "paused by an operator: maintenance; round 2 starts after `tributary run resume` (ready: a, b)");
  EXPECT_THAT(Ready("c"), IsEmpty());
  EXPECT_EQ(engine_->wake_at(), absl::InfiniteFuture());
  EXPECT_THAT(After(absl::Hours(1000)), IsEmpty()) << "the wait is the operator's";
  const std::vector<Action> actions = Step(ResumeRequested{});
  ASSERT_NE(Only<StartRound>(actions), nullptr);
  EXPECT_THAT(Only<StartRound>(actions)->members, ElementsAre("a", "b", "c"));
  EXPECT_EQ(engine_->state(), v1::RUNNING);
}

TEST_F(RoundEngineTest, AResumedRunWaitsForItsWorkersAsLongAsAFreshOne) {
  Start();
  Ready("a");
  Step(PauseRequested{"paused"});
  EXPECT_THAT(After(absl::Minutes(10)), IsEmpty());
  EXPECT_THAT(Ready("b"), IsEmpty()) << "enough sites, but paused";
  Drop("b");
  EXPECT_THAT(Step(ResumeRequested{}), IsEmpty());
  EXPECT_EQ(engine_->state(), v1::WAITING);
  EXPECT_EQ(engine_->wake_at(), now_ + absl::Minutes(5));
  EXPECT_THAT(After(absl::Minutes(4)), IsEmpty());
  EXPECT_EQ(Only<EndRun>(After(absl::Minutes(1)))->state, v1::FAILED);
}

TEST_F(RoundEngineTest, APausedRoundBelowQuorumStaysOpenAndNobodyTakesThePlaceOfThoseWhoLeft) {
  StartRoundWith({"a", "b", "c"});
  Accept("a");
  Step(PauseRequested{"paused"});
  After(absl::Seconds(60));
  EXPECT_EQ(engine_->reason(), "paused; round 1: 1 of 3 updates in, 2 needed and the deadline has passed; it stays open for b, c");
  EXPECT_EQ(engine_->wake_at(), absl::InfiniteFuture());
  Drop("b");
  Drop("c");
  Ready("d");
  Ready("e");
  EXPECT_THAT(After(absl::Hours(10)), IsEmpty());
  EXPECT_EQ(engine_->state(), v1::PAUSED);
  const std::vector<Action> resumed = Step(ResumeRequested{});
  ASSERT_NE(Only<StartRound>(resumed), nullptr) << engine_->reason();
  EXPECT_THAT(Only<StartRound>(resumed)->members, ElementsAre("a", "d", "e"));
}

TEST_F(RoundEngineTest, APausedRoundIsCommittedWithTheUpdateThatMakesItsQuorum) {
  StartRoundWith({"a", "b", "c"});
  Accept("a");
  Step(PauseRequested{"paused"});
  After(absl::Minutes(20));
  EXPECT_THAT(Only<CloseRound>(Accept("c"))->included, ElementsAre("a", "c"));
  EXPECT_THAT(Commit(), IsEmpty());
  EXPECT_EQ(engine_->state(), v1::PAUSED);
}

TEST_F(RoundEngineTest, AResumedRoundThatStillHasNoQuorumFailsAfterAFreshWait) {
  StartRoundWith({"a", "b", "c"});
  Accept("a");
  Step(PauseRequested{"paused"});
  After(absl::Minutes(20));
  EXPECT_THAT(Step(ResumeRequested{}), IsEmpty());
  EXPECT_EQ(engine_->state(), v1::RUNNING);
  EXPECT_EQ(engine_->wake_at(), now_ + absl::Minutes(5));
  EXPECT_EQ(Only<EndRun>(After(absl::Minutes(5)))->state, v1::FAILED);
}

TEST_F(RoundEngineTest, AStopEndsAPausedRun) {
  StartRoundWith({"a", "b", "c"});
  Accept("a");
  Step(PauseRequested{"paused"});
  After(absl::Minutes(20));
  const std::vector<Action> actions = Step(StopRequested{"enough"});
  ASSERT_NE(Only<EndRun>(actions), nullptr);
  EXPECT_EQ(Only<EndRun>(actions)->state, v1::STOPPED);
  Start();
  Step(PauseRequested{"paused"});
  EXPECT_EQ(Only<EndRun>(Step(StopRequested{"enough"}))->state, v1::STOPPED);
}

TEST_F(RoundEngineTest, ADrainOfAPausedRunIsImmediateAndARestartFindsItPaused) {
  Start();
  Step(PauseRequested{"paused"});
  EXPECT_NE(Only<Drained>(Step(DrainRequested{})), nullptr);
  EXPECT_EQ(engine_->state(), v1::DRAINING);
  Ready("a");
  Ready("b");
  Start(Policy(), {.committed = 1, .state_hash = "h1", .base_state_hash = "h1", .open = std::nullopt, .paused = "paused by an operator"});
  EXPECT_THAT(Step(MembersChanged{}), IsEmpty());
  EXPECT_EQ(engine_->state(), v1::PAUSED);
  EXPECT_THAT(engine_->reason(), HasSubstr("paused by an operator; round 2 starts after"));
  EXPECT_NE(Only<StartRound>(Step(ResumeRequested{})), nullptr);
}

TEST_F(RoundEngineTest, APauseDuringTheLastRoundDoesNotKeepTheRunFromFinishing) {
  RoundPolicy policy = Policy();
  policy.rounds = 1;
  StartRoundWith({"a", "b"}, policy);
  Step(PauseRequested{"paused"});
  Accept("a");
  Accept("b");
  Commit();
  EXPECT_EQ(engine_->state(), v1::RUNNING) << "reporting";
  EXPECT_NE(engine_->wake_at(), absl::InfiniteFuture());
  Step(StateReported{"a"});
  EXPECT_EQ(Only<EndRun>(Step(StateReported{"b"}))->state, v1::FINISHED);
  Start(policy, {.committed = 1, .state_hash = "h1", .base_state_hash = "h1", .open = std::nullopt, .paused = "paused"});
  EXPECT_FALSE(engine_->paused());
}

TEST_F(RoundEngineTest, AnExtendedRunGoesOnAfterTheRoundThatWasItsLast) {
  RoundPolicy policy = Policy();
  policy.rounds = 1;
  StartRoundWith({"a", "b"}, policy);
  EXPECT_THAT(Step(RunExtended{2}), IsEmpty());
  Accept("a");
  Accept("b");
  const std::vector<Action> actions = Commit();
  ASSERT_NE(Only<StartRound>(actions), nullptr);
  EXPECT_EQ(Only<StartRound>(actions)->round, 2U);
}

TEST_F(RoundEngineTest, ARunThatAwaitsReportsStartsAnotherRoundWhenItIsExtended) {
  RoundPolicy policy = Policy();
  policy.rounds = 1;
  StartRoundWith({"a", "b"}, policy);
  Accept("a");
  Accept("b");
  Commit();
  ASSERT_TRUE(engine_->reporting());
  Drop("b");
  EXPECT_THAT(Step(RunExtended{2}), IsEmpty());
  EXPECT_EQ(engine_->state(), v1::WAITING);
  EXPECT_EQ(engine_->wake_at(), now_ + absl::Minutes(5)) << "as long as any round waits";
  const std::vector<Action> actions = Ready("b");
  ASSERT_NE(Only<StartRound>(actions), nullptr);
  EXPECT_EQ(Only<StartRound>(actions)->round, 2U);
}

TEST_F(RoundEngineTest, ADrainEndsAfterTheRoundInFlight) {
  StartRoundWith({"a", "b"});
  EXPECT_THAT(Step(DrainRequested{}), IsEmpty());
  EXPECT_EQ(engine_->state(), v1::DRAINING);
  Accept("a");
  Accept("b");
  EXPECT_NE(Only<Drained>(Commit()), nullptr);
  EXPECT_EQ(engine_->open_round(), 0u);
  EXPECT_THAT(engine_->reason(), HasSubstr("shutting down after round 1"));
}

TEST_F(RoundEngineTest, ADrainBetweenRoundsIsImmediate) {
  Start();
  EXPECT_NE(Only<Drained>(Step(DrainRequested{})), nullptr);
}

TEST_F(RoundEngineTest, ARunThatHasEnoughAwaitsItsReportsAndFinishes) {
  StartRoundWith({"a", "b"});
  Accept("a");
  Accept("b");
  Step(RoundCommitted{"h1", "validation loss has not improved"});
  EXPECT_TRUE(engine_->reporting());
  EXPECT_THAT(engine_->reason(),
              HasSubstr("validation loss has not improved; ended after round 1 of 3; waiting for the final state of a, b"));
  Step(StateReported{"a"});
  const std::vector<Action> actions = Step(StateReported{"b"});
  ASSERT_NE(Only<EndRun>(actions), nullptr);
  EXPECT_EQ(Only<EndRun>(actions)->state, v1::FINISHED);
  EXPECT_EQ(Only<EndRun>(actions)->reason, "validation loss has not improved; ended after round 1 of 3");
}

TEST_F(RoundEngineTest, ARunThatHasEnoughStillHasAfterARestart) {
  Start(Policy(), {.committed = 1, .state_hash = "h1", .base_state_hash = "h1", .open = std::nullopt, .enough = "it is good"});
  EXPECT_TRUE(engine_->reporting());
  EXPECT_THAT(Ready("a"), Not(Contains(::testing::VariantWith<StartRound>(::testing::_))));
}

TEST_F(RoundEngineTest, ARunThatHasEnoughGoesOnWhenItIsExtended) {
  StartRoundWith({"a", "b"});
  Accept("a");
  Accept("b");
  Step(RoundCommitted{"h1", "it is good"});
  const std::vector<Action> actions = Step(RunExtended{3});
  ASSERT_NE(Only<StartRound>(actions), nullptr);
  EXPECT_EQ(Only<StartRound>(actions)->round, 2u);
}

}  // namespace
}  // namespace tributary::coordinator
