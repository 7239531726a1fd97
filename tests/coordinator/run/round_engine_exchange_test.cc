// The turn of another protocol between collecting and committing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "coordinator/run/round_engine.h"
#include "tests/coordinator/run/round_engine_support.h"

namespace tributary::coordinator {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Kind = UpdateVerdict::Kind;

class RoundEngineExchangeTest : public RoundEngineTest {
 protected:
  static RoundPolicy WithExchange() {
    RoundPolicy policy = Policy();
    policy.exchange_deadline = absl::Seconds(20);
    return policy;
  }
  // Round 1 of a, b and c, closed at its deadline with the updates of a and b.
  std::vector<Action> BeginWithTwoOfThree() {
    StartRoundWith({"a", "b", "c"}, WithExchange());
    Accept("a");
    Accept("b");
    return After(absl::Seconds(60));
  }
};

TEST_F(RoundEngineExchangeTest, AClosedRoundIsExchangedBetweenThoseWhoseUpdatesAreIn) {
  const std::vector<Action> actions = BeginWithTwoOfThree();
  ASSERT_NE(Only<BeginExchange>(actions), nullptr);
  EXPECT_EQ(Only<BeginExchange>(actions)->round, 1u);
  EXPECT_THAT(Only<BeginExchange>(actions)->participants, ElementsAre("a", "b"));
  EXPECT_EQ(engine_->state(), v1::RUNNING);
  EXPECT_EQ(engine_->open_round(), 0u);
  EXPECT_EQ(engine_->wake_at(), now_ + absl::Seconds(20));
  EXPECT_EQ(engine_->reason(), "round 1: 2 of 3 updates in; exchange between a, b until 00:01:20 UTC");
}

TEST_F(RoundEngineExchangeTest, ARoundIsCommittedWhenItsExchangeIsDone) {
  BeginWithTwoOfThree();
  const std::vector<Action> actions = Step(ExchangeDone{1});
  ASSERT_NE(Only<CloseRound>(actions), nullptr);
  EXPECT_THAT(Only<CloseRound>(actions)->included, ElementsAre("a", "b"));
  EXPECT_THAT(Only<CloseRound>(actions)->stragglers, ElementsAre("c"));
  ASSERT_NE(Only<StartRound>(Commit()), nullptr);
  EXPECT_EQ(engine_->open_round(), 2u);
}

TEST_F(RoundEngineExchangeTest, AFailedExchangeClosesTheRoundWithNobodysUpdate) {
  BeginWithTwoOfThree();
  const std::vector<Action> actions = Step(ExchangeFailed{1, "b did not reveal its share"});
  ASSERT_NE(Only<CloseRound>(actions), nullptr);
  EXPECT_THAT(Only<CloseRound>(actions)->included, IsEmpty());
  EXPECT_EQ(engine_->reason(), "round 1: committing 0 of 3 updates (the exchange failed: b did not reveal its share)");
  EXPECT_NE(Only<StartRound>(Commit()), nullptr) << "the run goes on";
}

TEST_F(RoundEngineExchangeTest, AnExchangeFailsAtItsDeadline) {
  BeginWithTwoOfThree();
  EXPECT_THAT(After(absl::Seconds(19)), IsEmpty());
  const std::vector<Action> actions = After(absl::Seconds(1));
  ASSERT_NE(Only<CloseRound>(actions), nullptr);
  EXPECT_THAT(Only<CloseRound>(actions)->included, IsEmpty());
  EXPECT_THAT(engine_->reason(), HasSubstr("the exchange failed: no result within 20s"));
}

TEST_F(RoundEngineExchangeTest, AResultAfterTheDeadlineChangesNothing) {
  BeginWithTwoOfThree();
  After(absl::Seconds(20));
  EXPECT_THAT(Step(ExchangeDone{1}), IsEmpty());
  Commit();
  Accept("a");
  Accept("b");
  ASSERT_NE(Only<BeginExchange>(Accept("c")), nullptr);
  EXPECT_THAT(Step(ExchangeDone{1}), IsEmpty()) << "it is the exchange of round 2 that is awaited";
  EXPECT_NE(Only<CloseRound>(Step(ExchangeDone{2})), nullptr);
}

TEST_F(RoundEngineExchangeTest, ExchangesThatFailAgainAndAgainEndTheRunAndSayWhy) {
  RoundPolicy policy = WithExchange();
  policy.rounds = 100;
  StartRoundWith({"a"}, policy);
  std::vector<Action> actions;
  for (uint64_t round = 1; round <= 10; ++round) {
    ASSERT_NE(Only<BeginExchange>(Accept("a")), nullptr);
    Step(ExchangeFailed{round, "too few"});
    actions = Commit();
  }
  ASSERT_NE(Only<EndRun>(actions), nullptr);
  EXPECT_EQ(Only<EndRun>(actions)->reason, "10 rounds in a row, up to round 10, brought no valid update (the exchange failed: too few)");
}

TEST_F(RoundEngineExchangeTest, ARoundWithoutUpdatesHasNothingToExchange) {
  StartRoundWith({"a"}, WithExchange());
  EXPECT_NE(Only<CloseRound>(Step(UpdateSkipped{"a", 1, "the gradient is not finite"})), nullptr);
}

TEST_F(RoundEngineExchangeTest, AnUpdateThatComesDuringTheExchangeIsLateAndOneThatIsInStaysIn) {
  BeginWithTwoOfThree();
  EXPECT_EQ(engine_->Judge("a", 1, "h0", "digest of a").kind, Kind::kDuplicate);
  EXPECT_EQ(engine_->Judge("a", 1, "h0", "another").kind, Kind::kConflict);
  EXPECT_EQ(engine_->Judge("c", 1, "h0", "x").kind, Kind::kLate);
  EXPECT_EQ(engine_->Judge("d", 1, "h0", "x").kind, Kind::kRefused);
}

TEST_F(RoundEngineExchangeTest, AnAnswerThatCameDuringTheExchangeMovesTheNextDeadline) {
  RoundPolicy policy = WithExchange();
  policy.min_deadline = absl::Seconds(1);
  StartRoundWith({"a", "b", "c"}, policy);
  Accept("a");
  Accept("b");
  After(absl::Seconds(60));
  now_ += absl::Seconds(10);
  Step(UpdateCameLate{"c", 1});
  Step(UpdateCameLate{"c", 1});
  EXPECT_THAT(engine_->arrivals()[1], ElementsAre(absl::ZeroDuration(), absl::ZeroDuration(), absl::Seconds(70)));
}

TEST_F(RoundEngineExchangeTest, ARestartCollectsTheRoundAgainAndBeginsTheExchangeAnew) {
  for (const char* const site : {"a", "b"}) {
    membership_.Expect(site, now_);
  }
  Start(WithExchange(), {.committed = 0,
                         .state_hash = "h0",
                         .base_state_hash = "h0",
                         .open = RunPosition::OpenRound{1, {"a", "b", "c"}, {{"a", "digest of a"}, {"b", "digest of b"}}}});
  const std::vector<Action> actions = Step(MembersChanged{});
  ASSERT_NE(Only<BeginExchange>(actions), nullptr) << "c is gone, and two of three are a quorum";
  EXPECT_THAT(Only<BeginExchange>(actions)->participants, ElementsAre("a", "b"));
}

TEST_F(RoundEngineExchangeTest, AStopAndAPauseLetTheExchangeEnd) {
  BeginWithTwoOfThree();
  EXPECT_THAT(Step(PauseRequested{"paused by an operator"}), IsEmpty());
  EXPECT_THAT(engine_->reason(), HasSubstr("paused by an operator; round 1: 2 of 3 updates in; exchange between a, b until"));
  EXPECT_EQ(engine_->wake_at(), now_ + absl::Seconds(20)) << "its deadline holds all the same";
  EXPECT_THAT(Step(StopRequested{"enough"}), IsEmpty());
  EXPECT_NE(Only<CloseRound>(Step(ExchangeDone{1})), nullptr);
  EXPECT_EQ(Only<EndRun>(Commit())->state, v1::STOPPED);
}

}  // namespace
}  // namespace tributary::coordinator
