// Rounds: reaching the current state, training, the pending update and its receipt, commits.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "common/exit_codes.h"
#include "optim/commit.h"
#include "tests/worker/engine_driver.h"
#include "worker/worker_engine.h"

namespace tributary::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// The payload of the update among the last messages; absent if none was sent.
std::optional<std::string> SentPayload(const EngineDriver& driver) {
  const auto* message = driver.Sent(v1::WorkerMessage::kUpdate);
  if (message == nullptr) {
    return std::nullopt;
  }
  return message->update().payload();
}

// Whether the pending update was settled, and how.
std::optional<bool> Settled(const EngineDriver& driver) {
  const auto* settle = driver.Find<action::Settle>();
  if (settle == nullptr) {
    return std::nullopt;
  }
  return settle->fate == UpdateFate::kIncluded;
}

// In round 1, with the update sent.
EngineDriver& SendFirstUpdate(EngineDriver& driver, uint64_t max_inline = 1000) {
  driver.Join(max_inline).Start(1);
  EXPECT_TRUE(driver.Training());
  return driver.Train("update 1");
}

v1::SyncPlan PlanWithReceipt(uint64_t target, uint64_t round, v1::Receipt::Result result) {
  v1::SyncPlan plan = EngineDriver::PlanTo(target);
  plan.mutable_last_receipt()->set_run_id("run-1");
  plan.mutable_last_receipt()->set_round(round);
  plan.mutable_last_receipt()->set_result(result);
  return plan;
}

std::string Record(const std::string& bytes) {
  return optim::CommitRecordPrefix(bytes.size()) + bytes;
}

TEST(SyncTest, StateZeroOfASeededRunIsMadeHereAndReported) {
  EngineDriver driver;
  driver.Join();
  const auto* ready = driver.Sent(v1::WorkerMessage::kReady);
  ASSERT_NE(ready, nullptr);
  EXPECT_EQ(ready->ready().round(), 0u);
  EXPECT_EQ(ready->ready().state_hash(), HashOf(0));
}

TEST(SyncTest, StateZeroIsDownloadedWhenTheCoordinatorObjectedToWhatWasHeld) {
  EngineDriver driver;
  driver.Join();
  v1::SyncPlan plan = EngineDriver::PlanTo(0, 0);
  plan.set_reason("state[0] differs");
  driver.Plan(plan);
  ASSERT_NE(driver.Find<action::Download>(), nullptr);
  EXPECT_TRUE(driver.Find<action::Download>()->request.has_snapshot_round());
  EXPECT_THAT(driver.Notes(), HasSubstr("state[0] differs"));
}

TEST(SyncTest, ASnapshotAndThenTheCommitsSinceAreFetchedAndApplied) {
  EngineDriver driver;
  driver.Tick().Welcome().Offer().Prepare().Plan(EngineDriver::PlanTo(5, 3));
  const auto* snapshot = driver.Find<action::Download>();
  ASSERT_NE(snapshot, nullptr);
  EXPECT_EQ(snapshot->request.snapshot_round(), 3u);
  EXPECT_GE(snapshot->max_bytes, 17u * 4);

  driver.Feed(event::Downloaded{snapshot->transfer, std::string("snapshot bytes")});
  ASSERT_NE(driver.Find<action::LoadSnapshot>(), nullptr);
  EXPECT_EQ(driver.Find<action::LoadSnapshot>()->bytes, "snapshot bytes");
  driver.Feed(event::SnapshotLoaded{driver.TakeWork<action::LoadSnapshot>(), ReplicaPosition{3, HashOf(3)}});

  const auto* commits = driver.Find<action::Download>();
  ASSERT_NE(commits, nullptr);
  EXPECT_EQ(commits->request.commits().first(), 4u);
  EXPECT_EQ(commits->request.commits().last(), 5u);
  driver.Feed(event::Downloaded{commits->transfer, Record("four") + Record("five")});
  ASSERT_NE(driver.Find<action::ApplyCommits>(), nullptr);
  EXPECT_THAT(driver.Find<action::ApplyCommits>()->records, ElementsAre("four", "five"));

  driver.Applied(5);
  ASSERT_NE(driver.Sent(v1::WorkerMessage::kReady), nullptr);
  EXPECT_EQ(driver.Sent(v1::WorkerMessage::kReady)->ready().round(), 5u);
}

TEST(SyncTest, OnlyTheCommitsThatAreMissingAreAskedFor) {
  EngineDriver driver;
  driver.Join().Lose().Return(EngineDriver::PlanTo(3));
  const auto* download = driver.Find<action::Download>();
  ASSERT_NE(download, nullptr);
  EXPECT_EQ(download->request.commits().first(), 1u);
  EXPECT_EQ(download->request.commits().last(), 3u);
}

TEST(SyncTest, ABrokenDownloadIsContinuedAfterAWait) {
  EngineDriver driver;
  driver.Join().Lose().Return(EngineDriver::PlanTo(3));
  driver.Feed(event::Downloaded{driver.Find<action::Download>()->transfer, absl::UnavailableError("reset")});
  EXPECT_EQ(driver.Find<action::Download>(), nullptr);
  EXPECT_EQ(driver.engine().NextWakeup() - driver.now(), absl::Milliseconds(500));
  driver.AdvanceToWakeup();
  ASSERT_NE(driver.Find<action::Download>(), nullptr);
  EXPECT_EQ(driver.Find<action::Download>()->request.commits().last(), 3u);
}

TEST(SyncTest, WhatHasGoneMeanwhileLeadsToANewPlan) {
  EngineDriver driver;
  driver.Join().Lose().Return(EngineDriver::PlanTo(3));
  driver.Feed(event::Downloaded{driver.Find<action::Download>()->transfer, absl::NotFoundError("pruned")});
  EXPECT_NE(driver.Sent(v1::WorkerMessage::kReady), nullptr);
}

TEST(SyncTest, ADamagedSnapshotLeadsToANewPlan) {
  EngineDriver driver;
  driver.Tick().Welcome().Offer().Prepare().Plan(EngineDriver::PlanTo(3, 3));
  driver.Feed(event::Downloaded{driver.Find<action::Download>()->transfer, std::string("bad")});
  driver.Feed(event::SnapshotLoaded{driver.TakeWork<action::LoadSnapshot>(), absl::DataLossError("checksum")});
  EXPECT_THAT(driver.Notes(), HasSubstr("checksum"));
  EXPECT_NE(driver.Sent(v1::WorkerMessage::kReady), nullptr);
}

TEST(SyncTest, ResynchronisingThatLeadsNowhereEndsTheWorker) {
  EngineDriver driver;
  driver.Tick().Welcome().Offer().Prepare();
  for (int attempt = 0; attempt < 5; ++attempt) {
    driver.Plan(EngineDriver::PlanTo(3));  // a plan without a snapshot for a worker that holds nothing
    EXPECT_NE(driver.Sent(v1::WorkerMessage::kReady), nullptr);
  }
  driver.Plan(EngineDriver::PlanTo(3));
  ASSERT_NE(driver.Find<action::Exit>(), nullptr);
  EXPECT_EQ(ExitCodeOf(driver.Find<action::Exit>()->status), ExitCode::kDamaged);
}

TEST(SyncTest, CommitsThatArriveDuringADownloadAreAppliedAfterIt) {
  EngineDriver driver;
  driver.Join().Lose().Return(EngineDriver::PlanTo(2));
  const uint64_t transfer = driver.Find<action::Download>()->transfer;
  driver.Commit(3);
  EXPECT_EQ(driver.Find<action::ApplyCommits>(), nullptr);
  driver.Feed(event::Downloaded{transfer, Record("1") + Record("2")}).Applied(2);
  EXPECT_NE(driver.Sent(v1::WorkerMessage::kReady), nullptr);
  ASSERT_NE(driver.Find<action::ApplyCommits>(), nullptr);
  EXPECT_EQ(driver.Reason<action::ApplyCommits>(), "commit 3 has arrived");
}

TEST(SyncTest, ARoundThatClosedWhileItWaitedForCommitsIsNotBegun) {
  EngineDriver driver;
  driver.Join().Commit(1);
  const uint64_t applying = driver.TakeWork<action::ApplyCommits>();
  driver.Start(2).Commit(2).Feed(event::CommitsApplied{applying, absl::OkStatus(), {1, HashOf(1)}}).Applied(2);
  EXPECT_EQ(driver.Sent(v1::WorkerMessage::kReady), nullptr) << driver.Reason<action::Send>();
  driver.Start(3);
  EXPECT_NE(driver.Find<action::Train>(), nullptr);
}

TEST(SyncTest, ReadyIsNotHeldUpByTrainingUnderWay) {
  EngineDriver driver;
  driver.Join().Start(1);
  ASSERT_TRUE(driver.Training());
  driver.Lose().Return(EngineDriver::PlanTo(0));
  EXPECT_NE(driver.Sent(v1::WorkerMessage::kReady), nullptr);
  driver.Start(1);
  EXPECT_EQ(driver.Find<action::Train>(), nullptr);
  driver.Train("update 1");
  EXPECT_EQ(SentPayload(driver), "update 1");
}

TEST(RoundTest, AnUpdateGoesOutWithTheHashItWasTrainedFrom) {
  EngineDriver driver;
  SendFirstUpdate(driver);
  const auto* message = driver.Sent(v1::WorkerMessage::kUpdate);
  ASSERT_NE(message, nullptr);
  EXPECT_EQ(message->update().run_id(), "run-1");
  EXPECT_EQ(message->update().round(), 1u);
  EXPECT_EQ(message->update().base_state_hash(), HashOf(0));
  EXPECT_EQ(message->update().payload(), "update 1");
  EXPECT_EQ(message->update().report().train_loss(), 2.0f);
}

TEST(RoundTest, ASiteMayKeepItsLossesToItself) {
  WorkerEngineOptions options = EngineDriver::DefaultOptions();
  options.withhold_losses = true;
  EngineDriver driver(options);
  SendFirstUpdate(driver);
  const auto* message = driver.Sent(v1::WorkerMessage::kUpdate);
  ASSERT_NE(message, nullptr);
  EXPECT_EQ(message->update().payload(), "update 1");
  EXPECT_TRUE(std::isnan(message->update().report().train_loss()));
  EXPECT_FALSE(message->update().report().has_val_loss());
}

TEST(RoundTest, OnlyAnIncludedUpdateLeavesTheResidual) {
  const std::pair<v1::Receipt::Result, bool> cases[] = {
      {v1::Receipt::INCLUDED, true}, {v1::Receipt::LATE, false}, {v1::Receipt::REJECTED, false}};
  for (const auto& [result, included] : cases) {
    SCOPED_TRACE(v1::Receipt::Result_Name(result));
    EngineDriver driver;
    SendFirstUpdate(driver).Receipt(1, result, "norm");
    EXPECT_EQ(Settled(driver), included);
    EXPECT_FALSE(driver.engine().has_pending_update());
    ASSERT_NE(driver.Find<action::Count>(), nullptr);
    EXPECT_EQ(driver.Find<action::Count>()->result, result);
  }
}

TEST(RoundTest, ARejectionIsToldWithItsReason) {
  EngineDriver driver;
  SendFirstUpdate(driver).Receipt(1, v1::Receipt::REJECTED, "block wte: index out of range");
  EXPECT_THAT(driver.Notes(), HasSubstr("block wte: index out of range"));
}

TEST(RoundTest, ACommitWithoutAReceiptMeansNotIncluded) {
  EngineDriver driver;
  SendFirstUpdate(driver).Commit(1);
  EXPECT_EQ(Settled(driver), false);
  EXPECT_NE(driver.Find<action::ApplyCommits>(), nullptr);
}

TEST(RoundTest, AfterACommitTheNextRoundTrainsFromTheNewState) {
  EngineDriver driver;
  SendFirstUpdate(driver).Receipt(1, v1::Receipt::INCLUDED).Commit(1);
  const uint64_t apply = driver.TakeWork<action::ApplyCommits>();
  driver.Start(2);
  EXPECT_EQ(driver.Find<action::Train>(), nullptr) << "the commit is still being applied";
  driver.Feed(event::CommitsApplied{apply, absl::OkStatus(), {1, HashOf(1)}});
  ASSERT_NE(driver.Find<action::Train>(), nullptr);
  EXPECT_EQ(driver.Find<action::Train>()->start.round(), 2u);
}

TEST(RoundTest, AfterABrokenSessionTheSameBytesAreSentAgain) {
  EngineDriver driver;
  SendFirstUpdate(driver).Lose().Return(EngineDriver::PlanTo(0));
  EXPECT_EQ(SentPayload(driver), std::nullopt) << "the round has not been started on this session";
  driver.Start(1);
  EXPECT_EQ(SentPayload(driver), "update 1");
  EXPECT_EQ(driver.Find<action::Train>(), nullptr);
  EXPECT_EQ(Settled(driver), std::nullopt);
}

TEST(RoundTest, AnUpdateThatTheCoordinatorHoldsIsNotSentAgain) {
  EngineDriver driver;
  SendFirstUpdate(driver).Lose().Return(EngineDriver::PlanTo(0)).Start(1, /*update_held=*/true);
  EXPECT_EQ(SentPayload(driver), std::nullopt);
  EXPECT_EQ(driver.Find<action::Train>(), nullptr);
  EXPECT_TRUE(driver.engine().has_pending_update());
  driver.Receipt(1, v1::Receipt::INCLUDED);
  EXPECT_EQ(Settled(driver), true);
}

TEST(RoundTest, AMissedReceiptComesWithThePlan) {
  EngineDriver included, late, unknown;
  SendFirstUpdate(included).Lose().Return(PlanWithReceipt(1, 1, v1::Receipt::INCLUDED));
  EXPECT_EQ(Settled(included), true);
  SendFirstUpdate(late).Lose().Return(PlanWithReceipt(1, 1, v1::Receipt::LATE));
  EXPECT_EQ(Settled(late), false);
  SendFirstUpdate(unknown).Lose().Return(EngineDriver::PlanTo(1));
  EXPECT_EQ(Settled(unknown), false);
}

TEST(RoundTest, AReceiptOfAnEarlierRoundSaysNothingOfThisOne) {
  EngineDriver driver;
  SendFirstUpdate(driver).Receipt(1, v1::Receipt::INCLUDED).Commit(1).Applied(1).Start(2);
  ASSERT_TRUE(driver.Training());
  driver.Train("update 2").Lose().Return(PlanWithReceipt(1, 1, v1::Receipt::INCLUDED));
  EXPECT_EQ(Settled(driver), std::nullopt);
  EXPECT_TRUE(driver.engine().has_pending_update()) << "round 2 is still open";
}

TEST(RoundTest, BeforeThePlanACommitDoesNotDecideOverThePendingUpdate) {
  EngineDriver driver;
  SendFirstUpdate(driver).Lose().AdvanceToWakeup().Welcome().Offer().Commit(1);
  EXPECT_EQ(Settled(driver), std::nullopt);
  driver.Plan(PlanWithReceipt(1, 1, v1::Receipt::INCLUDED));
  EXPECT_EQ(Settled(driver), true);
}

TEST(RoundTest, TrainingThatEndsAfterItsRoundIsNotSentAndStaysInTheResidual) {
  EngineDriver driver;
  driver.Join().Start(1);
  ASSERT_TRUE(driver.Training());
  driver.Commit(1);
  EXPECT_EQ(driver.Find<action::ApplyCommits>(), nullptr) << "training reads the state";
  driver.Train("late");
  EXPECT_EQ(SentPayload(driver), std::nullopt);
  EXPECT_EQ(Settled(driver), false);
  EXPECT_NE(driver.Find<action::ApplyCommits>(), nullptr);
}

TEST(RoundTest, TrainingThatEndsWithoutASessionIsSentOnTheNext) {
  EngineDriver driver;
  driver.Join().Start(1);
  ASSERT_TRUE(driver.Training());
  driver.Lose().Train("update 1");
  EXPECT_EQ(SentPayload(driver), std::nullopt);
  driver.Return(EngineDriver::PlanTo(0)).Start(1);
  EXPECT_EQ(SentPayload(driver), "update 1");
}

TEST(RoundTest, ARoundFromAnotherStateIsNotTrainedButReported) {
  EngineDriver driver;
  driver.Join().Start(1, false, "another hash");
  EXPECT_EQ(driver.Find<action::Train>(), nullptr);
  ASSERT_NE(driver.Sent(v1::WorkerMessage::kReady), nullptr);
  EXPECT_EQ(driver.Sent(v1::WorkerMessage::kReady)->ready().state_hash(), HashOf(0));
}

TEST(RoundTest, ARoundWithoutAnUpdateIsSkippedWithoutTellingOfTheData) {
  EngineDriver driver;
  driver.Join().Start(1);
  ASSERT_TRUE(driver.Training());
  driver.Feed(event::Trained{driver.train_work(), absl::InternalError("cannot read /data/patients.csv")});
  ASSERT_NE(driver.Sent(v1::WorkerMessage::kUpdateSkipped), nullptr);
  EXPECT_THAT(driver.Sent(v1::WorkerMessage::kUpdateSkipped)->update_skipped().reason(), Not(HasSubstr("patients")));
  EXPECT_THAT(driver.Notes(), HasSubstr("patients"));
}

TEST(RoundTest, MoreLocalStepsThanTheSiteAllowsAreNotTaken) {
  EngineDriver driver;
  driver.Join();
  v1::CoordinatorMessage message;
  message.mutable_round_start()->set_run_id("run-1");
  message.mutable_round_start()->set_round(1);
  message.mutable_round_start()->set_local_steps(5);
  message.mutable_round_start()->set_base_state_hash(HashOf(0));
  driver.Receive(message);
  EXPECT_EQ(driver.Find<action::Train>(), nullptr);
  ASSERT_NE(driver.Sent(v1::WorkerMessage::kUpdateSkipped), nullptr);
  EXPECT_THAT(driver.Sent(v1::WorkerMessage::kUpdateSkipped)->update_skipped().reason(), HasSubstr("max_local_steps"));
}

v1::CoordinatorMessage PipelinedStart(uint64_t round) {
  v1::CoordinatorMessage message;
  v1::RoundStart& start = *message.mutable_round_start();
  start.set_run_id("run-1");
  start.set_round(round);
  start.set_learning_rate(0.01f);
  start.set_local_steps(1);
  start.set_base_round(round < 2 ? 0 : round - 2);
  start.set_base_state_hash(HashOf(start.base_round()));
  start.set_next_learning_rate(0.02f);
  start.set_next_local_steps(2);
  return message;
}

TEST(PipelineTest, TheNextRoundIsComputedWhileTheCommitTravels) {
  EngineDriver driver;
  driver.Join().Receive(PipelinedStart(1));
  ASSERT_TRUE(driver.Training());
  driver.Train("update 1");
  const auto* ahead = driver.Find<action::ComputeAhead>();
  ASSERT_NE(ahead, nullptr);
  EXPECT_EQ(ahead->start.round(), 2u);
  EXPECT_EQ(ahead->start.base_round(), 0u);
  EXPECT_EQ(ahead->start.base_state_hash(), HashOf(0));
  EXPECT_EQ(ahead->start.learning_rate(), 0.02f);
  EXPECT_EQ(ahead->start.local_steps(), 2u);
  const uint64_t work = ahead->work;
  driver.Receipt(1, v1::Receipt::INCLUDED);
  EXPECT_EQ(Settled(driver), true);
  driver.Commit(1);
  EXPECT_EQ(driver.Find<action::ApplyCommits>(), nullptr) << "one piece of work at a time";
  driver.Feed(event::ComputedAhead{work});
  driver.Feed(event::CommitsApplied{driver.TakeWork<action::ApplyCommits>(), absl::OkStatus(), {1, HashOf(1), HashOf(0)}});
  EXPECT_EQ(driver.Find<action::ComputeAhead>(), nullptr) << "once a round";
  driver.Receive(PipelinedStart(2));
  ASSERT_TRUE(driver.Training());
  driver.Train("update 2");
  ASSERT_NE(driver.Sent(v1::WorkerMessage::kUpdate), nullptr);
  EXPECT_EQ(driver.Sent(v1::WorkerMessage::kUpdate)->update().base_state_hash(), HashOf(0));
  ASSERT_NE(driver.Find<action::ComputeAhead>(), nullptr);
  EXPECT_EQ(driver.Find<action::ComputeAhead>()->start.base_state_hash(), HashOf(1));
}

TEST(PipelineTest, WithoutTheStateBeforeTheLastThereIsNothingToTrainFrom) {
  EngineDriver driver;
  driver.Join().Commit(1);
  driver.Feed(event::CommitsApplied{driver.TakeWork<action::ApplyCommits>(), absl::OkStatus(), {1, HashOf(1), ""}});
  driver.Receive(PipelinedStart(2));
  EXPECT_EQ(driver.Find<action::Train>(), nullptr);
  EXPECT_NE(driver.Sent(v1::WorkerMessage::kReady), nullptr);
}

TEST(PipelineTest, NothingIsComputedAheadThatConsentForbids) {
  EngineDriver driver;
  v1::CoordinatorMessage start = PipelinedStart(1);
  start.mutable_round_start()->set_next_local_steps(5);
  driver.Join().Receive(start);
  ASSERT_TRUE(driver.Training());
  driver.Train("update 1");
  EXPECT_EQ(driver.Find<action::ComputeAhead>(), nullptr);
}

TEST(RoundTest, MessagesOfAnotherRunAreIgnored) {
  EngineDriver driver;
  driver.Join();
  v1::CoordinatorMessage message;
  message.mutable_round_start()->set_run_id("another");
  message.mutable_round_start()->set_round(1);
  driver.Receive(message);
  EXPECT_THAT(driver.actions(), IsEmpty());
}

TEST(CommitTest, AReplicaThatDiffersSaysSoAndStartsFromASnapshot) {
  EngineDriver driver;
  driver.Join().Commit(1).Applied(1, "wrong");
  EXPECT_NE(driver.Find<action::CountMismatch>(), nullptr);
  EXPECT_THAT(driver.Notes(), HasSubstr("this replica's state is"));
  ASSERT_NE(driver.Sent(v1::WorkerMessage::kReady), nullptr);
  EXPECT_EQ(driver.Sent(v1::WorkerMessage::kReady)->ready().state_hash(), "wrong");

  driver.Start(2);
  EXPECT_EQ(driver.Find<action::Train>(), nullptr) << "the round starts from another state";
  driver.Plan(EngineDriver::PlanTo(1, 1));
  ASSERT_NE(driver.Find<action::Download>(), nullptr);
  driver.Feed(event::Downloaded{driver.Find<action::Download>()->transfer, std::string("good")});
  driver.Feed(event::SnapshotLoaded{driver.TakeWork<action::LoadSnapshot>(), ReplicaPosition{1, HashOf(1)}});
  driver.Start(2);
  EXPECT_NE(driver.Find<action::Train>(), nullptr);
}

TEST(CommitTest, AReplicaThatTheCoordinatorFindsRightGoesOn) {
  EngineDriver driver;
  driver.Join().Commit(1).Applied(1, "right after all").Start(2, false, "right after all");
  EXPECT_NE(driver.Find<action::Train>(), nullptr);
}

TEST(CommitTest, AGapLeadsToANewPlan) {
  EngineDriver driver;
  driver.Join().Commit(2);
  EXPECT_EQ(driver.Reason<action::Send>(), "commit 2 arrived, but 1 was expected");
  EXPECT_NE(driver.Sent(v1::WorkerMessage::kReady), nullptr);
  driver.Commit(3);
  EXPECT_THAT(driver.actions(), IsEmpty()) << "the plan that was asked for will cover it";
}

TEST(CommitTest, ACommitThatIsHeldAlreadyIsIgnored) {
  EngineDriver driver;
  driver.Join().Commit(1).Applied(1).Commit(1);
  EXPECT_THAT(driver.actions(), IsEmpty());
}

TEST(CommitTest, ALongCommitIsFetchedBesideTheSession) {
  EngineDriver driver;
  driver.Join().Commit(1, false, "");
  const auto* download = driver.Find<action::Download>();
  ASSERT_NE(download, nullptr);
  EXPECT_EQ(download->request.commits().first(), 1u);
  EXPECT_EQ(download->request.commits().last(), 1u);
  driver.Feed(event::Downloaded{download->transfer, Record("long")});
  ASSERT_NE(driver.Find<action::ApplyCommits>(), nullptr);
  EXPECT_THAT(driver.Find<action::ApplyCommits>()->records, ElementsAre("long"));
}

TEST(CommitTest, CommitsAreAppliedOneAfterAnother) {
  EngineDriver driver;
  driver.Join().Commit(1);
  const uint64_t first = driver.TakeWork<action::ApplyCommits>();
  driver.Commit(2);
  EXPECT_EQ(driver.Find<action::ApplyCommits>(), nullptr);
  driver.Feed(event::CommitsApplied{first, absl::OkStatus(), {1, HashOf(1)}});
  EXPECT_EQ(driver.Reason<action::ApplyCommits>(), "commit 2 has arrived");
}

TEST(CommitTest, ACommitThatCannotBeAppliedLeadsToANewPlan) {
  EngineDriver driver;
  driver.Join().Commit(1);
  driver.Feed(event::CommitsApplied{driver.TakeWork<action::ApplyCommits>(), absl::InvalidArgumentError("not canonical"), {0, HashOf(0)}});
  EXPECT_THAT(driver.Notes(), HasSubstr("not canonical"));
  EXPECT_NE(driver.Sent(v1::WorkerMessage::kReady), nullptr);
}

}  // namespace
}  // namespace tributary::worker
