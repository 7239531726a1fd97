// A restarted process to the engine: what was saved is what a broken session leaves.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/exit_codes.h"
#include "tests/worker/engine_driver.h"
#include "worker/worker_engine.h"

namespace tributary::worker {
namespace {

using ::testing::HasSubstr;

PendingUpdate Saved(uint64_t round) {
  PendingUpdate pending;
  pending.round = round;
  pending.base_hash = HashOf(round - 1);
  pending.update.payload = std::make_shared<const std::string>(absl::StrCat("update ", round));
  pending.update.report.set_train_loss(2);
  return pending;
}

// A new process with the file of a round, up to and with the plan.
class RestartTest : public ::testing::Test {
 protected:
  static WorkerEngineOptions WithSavedRun() {
    WorkerEngineOptions options = EngineDriver::DefaultOptions();
    options.saved_runs = {"run-1"};
    return options;
  }

  void Start(uint64_t saved_round, v1::SyncPlan plan) {
    driver_.Tick().Welcome().Offer();
    driver_.Feed(event::RunPrepared{driver_.TakeWork<action::PrepareRun>(), absl::OkStatus(), Saved(saved_round)});
    driver_.Plan(std::move(plan));
  }
  void LoadTo(uint64_t round) {
    if (const auto* download = driver_.Find<action::Download>()) {
      driver_.Feed(event::Downloaded{download->transfer, std::string("bytes")});
    }
    driver_.Feed(event::SnapshotLoaded{driver_.TakeWork<action::LoadSnapshot>(), ReplicaPosition{round, HashOf(round)}});
  }
  static v1::SyncPlan PlanWithReceipt(uint64_t target, uint64_t receipt) {
    v1::SyncPlan plan = EngineDriver::PlanTo(target, target);
    plan.mutable_last_receipt()->set_run_id("run-1");
    plan.mutable_last_receipt()->set_round(receipt);
    plan.mutable_last_receipt()->set_result(v1::Receipt::INCLUDED);
    return plan;
  }

  EngineDriver driver_{WithSavedRun()};
};

TEST_F(RestartTest, TheSavedRunIsNamedWithoutAState) {
  driver_.Tick();
  const auto* hello = driver_.Sent(v1::WorkerMessage::kHello);
  ASSERT_NE(hello, nullptr);
  EXPECT_EQ(hello->hello().held().run_id(), "run-1");
  EXPECT_EQ(hello->hello().held().state_hash(), "");
}

TEST_F(RestartTest, WhatIsSavedOfARunThatIsOverGoes) {
  driver_.Tick().Welcome().End(v1::FINISHED);
  ASSERT_NE(driver_.Find<action::ReleaseRun>(), nullptr);
  EXPECT_EQ(driver_.Find<action::ReleaseRun>()->over, "run-1");
  driver_.Lose().AdvanceToWakeup();
  EXPECT_FALSE(driver_.Sent(v1::WorkerMessage::kHello)->hello().has_held()) << "once";
}

TEST_F(RestartTest, EverySavedRunIsAskedAboutInTurn) {
  WorkerEngineOptions options = EngineDriver::DefaultOptions();
  options.saved_runs = {"run-3", "run-1", "run-2"};
  EngineDriver driver(options);
  driver.Tick();
  for (const char* const run : {"run-3", "run-1", "run-2", "run-3"}) {
    EXPECT_EQ(driver.Sent(v1::WorkerMessage::kHello)->hello().held().run_id(), run);
    driver.Lose().AdvanceToWakeup();
    EXPECT_EQ(driver.Sent(v1::WorkerMessage::kHello)->hello().held().run_id(), run) << "that session did not come about";
    driver.Welcome().Lose().AdvanceToWakeup();
  }
}

TEST_F(RestartTest, WhatIsSavedStaysWhenAnotherRunIsOffered) {
  driver_.Tick().Welcome().Offer().Prepare().Offer(MakeSpec("bible-2"), "run-2");
  ASSERT_NE(driver_.Find<action::ReleaseRun>(), nullptr);
  EXPECT_EQ(driver_.Find<action::ReleaseRun>()->over, "");
}

TEST_F(RestartTest, TheUpdateOfARoundThatIsOpenIsSentAgain) {
  Start(5, PlanWithReceipt(4, 4));
  EXPECT_EQ(driver_.Find<action::Settle>(), nullptr) << "its round is open";
  LoadTo(4);
  driver_.Start(5);
  EXPECT_EQ(driver_.Find<action::Train>(), nullptr);
  const auto* update = driver_.Sent(v1::WorkerMessage::kUpdate);
  ASSERT_NE(update, nullptr);
  EXPECT_EQ(update->update().payload(), "update 5");
  EXPECT_EQ(update->update().base_state_hash(), HashOf(4));
  EXPECT_EQ(update->update().report().train_loss(), 2);
  driver_.Receipt(5, v1::Receipt::INCLUDED);
  ASSERT_NE(driver_.Find<action::Settle>(), nullptr);
  EXPECT_EQ(driver_.Find<action::Settle>()->fate, UpdateFate::kIncluded);
}

TEST_F(RestartTest, AnUpdateThatTheCoordinatorHoldsIsNotSentAgain) {
  Start(5, PlanWithReceipt(4, 4));
  LoadTo(4);
  driver_.Start(5, /*update_held=*/true);
  EXPECT_EQ(driver_.Sent(v1::WorkerMessage::kUpdate), nullptr);
  EXPECT_EQ(driver_.Find<action::Train>(), nullptr);
  driver_.Receipt(5, v1::Receipt::INCLUDED);
  EXPECT_EQ(driver_.Find<action::Settle>()->fate, UpdateFate::kIncluded);
}

TEST_F(RestartTest, ThePlanSaysThatTheSavedUpdateWasIncluded) {
  Start(5, PlanWithReceipt(8, 5));
  ASSERT_NE(driver_.Find<action::Settle>(), nullptr);
  EXPECT_EQ(driver_.Find<action::Settle>()->round, 5u);
  EXPECT_EQ(driver_.Find<action::Settle>()->fate, UpdateFate::kIncluded);
}

TEST_F(RestartTest, ARoundThatClosedWithoutTheSavedUpdateKeepsIt) {
  Start(5, PlanWithReceipt(8, 4));
  ASSERT_NE(driver_.Find<action::Settle>(), nullptr);
  EXPECT_EQ(driver_.Find<action::Settle>()->fate, UpdateFate::kNotIncluded);
}

TEST_F(RestartTest, AnUpdateFromAnotherStateIsNotSent) {
  Start(5, PlanWithReceipt(4, 4));
  LoadTo(4);
  PendingUpdate other = Saved(5);
  driver_.Start(5, false, HashOf(4));
  EXPECT_NE(driver_.Sent(v1::WorkerMessage::kUpdate), nullptr) << "from the same state it is";

  EngineDriver elsewhere(WithSavedRun());
  elsewhere.Tick().Welcome().Offer();
  other.base_hash = "another state";
  elsewhere.Feed(event::RunPrepared{elsewhere.TakeWork<action::PrepareRun>(), absl::OkStatus(), other});
  elsewhere.Plan(EngineDriver::PlanTo(4, 4));
  elsewhere.Feed(event::Downloaded{elsewhere.Find<action::Download>()->transfer, std::string("bytes")});
  elsewhere.Feed(event::SnapshotLoaded{elsewhere.TakeWork<action::LoadSnapshot>(), ReplicaPosition{4, HashOf(4)}});
  elsewhere.Start(5);
  EXPECT_EQ(elsewhere.Sent(v1::WorkerMessage::kUpdate), nullptr);
  EXPECT_EQ(elsewhere.Find<action::Settle>()->fate, UpdateFate::kNotIncluded);
  EXPECT_NE(elsewhere.Find<action::Train>(), nullptr) << "trained again from the state that the round starts from";
}

TEST_F(RestartTest, AStateFolderThatCannotBeReadEndsTheWorker) {
  driver_.Tick().Welcome().Offer();
  driver_.Prepare(WithExitCode(absl::AbortedError("permission denied"), ExitCode::kStorage));
  ASSERT_NE(driver_.Find<action::Exit>(), nullptr);
  EXPECT_EQ(ExitCodeOf(driver_.Find<action::Exit>()->status), ExitCode::kStorage);
}

TEST_F(RestartTest, AnUpdateThatCannotBeSavedIsNotSentAndEndsTheWorker) {
  EngineDriver driver;
  driver.Join().Start(1);
  ASSERT_TRUE(driver.Training());
  driver.Feed(event::Trained{driver.train_work(), WithExitCode(absl::AbortedError("disk full"), ExitCode::kStorage)});
  EXPECT_EQ(driver.Sent(v1::WorkerMessage::kUpdate), nullptr);
  ASSERT_NE(driver.Find<action::Exit>(), nullptr);
  EXPECT_EQ(ExitCodeOf(driver.Find<action::Exit>()->status), ExitCode::kStorage);
  EXPECT_THAT(std::string(driver.Find<action::Exit>()->status.message()), HasSubstr("disk full"));
}

TEST_F(RestartTest, ARoundWhoseUpdateCannotBeMadeAgainIsSkippedAndTheNextIsTrained) {
  EngineDriver driver;
  driver.Join().Start(1);
  ASSERT_TRUE(driver.Training());
  driver.Feed(event::Trained{driver.train_work(), absl::AlreadyExistsError("another was sent")});
  EXPECT_EQ(driver.Sent(v1::WorkerMessage::kUpdate), nullptr);
  const auto* skipped = driver.Sent(v1::WorkerMessage::kUpdateSkipped);
  ASSERT_NE(skipped, nullptr);
  EXPECT_EQ(skipped->update_skipped().round(), 1u);
  EXPECT_THAT(skipped->update_skipped().reason(), HasSubstr("restarted"));
  driver.Receipt(1, v1::Receipt::INCLUDED);
  EXPECT_EQ(driver.Find<action::Settle>(), nullptr) << "what was sent came through after all";
  driver.Commit(1).Applied(1).Start(2);
  EXPECT_TRUE(driver.Training());
}

TEST_F(RestartTest, TheEndOfTheRunRemovesWhatIsSaved) {
  EngineDriver driver;
  driver.Join().End(v1::STOPPED);
  ASSERT_NE(driver.Find<action::ReleaseRun>(), nullptr);
  EXPECT_EQ(driver.Find<action::ReleaseRun>()->over, "run-1");
}

TEST(Refusals, ByTheCoordinatorEndTheRunForThisWorkerWhichStaysForOthers) {
  EngineDriver driver;
  driver.Join();
  v1::CoordinatorMessage message;
  message.mutable_run_refused()->set_run_id("run-1");
  message.mutable_run_refused()->set_reason("its list of columns differs");
  driver.Receive(message);
  EXPECT_THAT(driver.Notes(), HasSubstr("the coordinator refuses this site: its list of columns differs"));
  ASSERT_NE(driver.Find<action::ReleaseRun>(), nullptr);
  EXPECT_EQ(driver.Find<action::ReleaseRun>()->over, "") << "what is saved stays";
  EXPECT_EQ(driver.Find<action::Exit>(), nullptr);
  driver.Receive(message);  // once more, of a run that it has no more
  EXPECT_EQ(driver.Notes(), "");
  driver.Offer(MakeSpec("bible-2"), "run-2");
  EXPECT_NE(driver.Find<action::PrepareRun>(), nullptr);
}

TEST(Refusals, ByTheCoordinatorEndAWorkerThatIsThereForOneRun) {
  WorkerEngineOptions options = EngineDriver::DefaultOptions();
  options.once = true;
  EngineDriver driver(std::move(options));
  driver.Join();
  v1::CoordinatorMessage message;
  message.mutable_run_refused()->set_run_id("run-1");
  driver.Receive(std::move(message));
  ASSERT_NE(driver.Find<action::Exit>(), nullptr);
  EXPECT_EQ(ExitCodeOf(driver.Find<action::Exit>()->status), ExitCode::kData);
}

TEST(Acceptances, TellTheDigestOfTheColumns) {
  EngineDriver driver;
  driver.Tick().Welcome().Offer();
  driver.Feed(event::RunPrepared{driver.TakeWork<action::PrepareRun>(), absl::OkStatus(), std::nullopt, "digest"});
  ASSERT_NE(driver.Sent(v1::WorkerMessage::kRunAnswer), nullptr);
  EXPECT_EQ(driver.Sent(v1::WorkerMessage::kRunAnswer)->run_answer().columns_digest(), "digest");
}

}  // namespace
}  // namespace tributary::worker
