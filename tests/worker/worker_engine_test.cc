// Sessions and runs: connecting, being refused, consent, the end. Rounds: worker_engine_rounds_test.cc.
#include "worker/worker_engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/exit_codes.h"
#include "proto/config/capabilities.h"
#include "proto/protocol_version.h"
#include "tests/worker/engine_driver.h"
#include "worker/refusal.h"

namespace tributary::worker {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

ExitCode CodeOf(const EngineDriver& driver) {
  const auto* exit = driver.Find<action::Exit>();
  EXPECT_NE(exit, nullptr) << "the engine does not exit";
  return exit == nullptr ? ExitCode::kInternal : ExitCodeOf(exit->status);
}

WorkerEngineOptions Once() {
  WorkerEngineOptions options = EngineDriver::DefaultOptions();
  options.once = true;
  return options;
}

TEST(SessionTest, TheFirstEventOpensASessionThatBeginsWithHello) {
  EngineDriver driver;
  driver.Tick();
  EXPECT_EQ(driver.Reason<action::OpenSession>(), "no session is open");
  const auto* hello = driver.Sent(v1::WorkerMessage::kHello);
  ASSERT_NE(hello, nullptr);
  EXPECT_EQ(hello->hello().protocol_version(), kOldestProtocolVersion);
  EXPECT_EQ(hello->hello().newest_protocol_version(), kNewestProtocolVersion);
  EXPECT_EQ(CapabilitiesOf(hello->hello().capabilities()), OwnCapabilities());
  EXPECT_EQ(hello->hello().software_version(), "1.2.3");
  EXPECT_FALSE(hello->hello().has_held());
}

TEST(SessionTest, WaitsBetweenAttemptsDoubleUpToTheLongest) {
  EngineDriver driver;
  driver.Tick();
  for (const absl::Duration wait : {absl::Milliseconds(500), absl::Seconds(1), absl::Seconds(2), absl::Seconds(4), absl::Seconds(8),
                                    absl::Seconds(16), absl::Seconds(30), absl::Seconds(30)}) {
    driver.Lose();
    EXPECT_EQ(driver.Find<action::OpenSession>(), nullptr);
    EXPECT_EQ(driver.engine().NextWakeup() - driver.now(), wait);
    driver.AdvanceToWakeup();
    EXPECT_NE(driver.Find<action::OpenSession>(), nullptr);
  }
}

TEST(SessionTest, TheRandomPartShortensAWaitByUpToHalf) {
  WorkerEngineOptions options = EngineDriver::DefaultOptions();
  options.random = [] { return 0.5; };
  EngineDriver driver(options);
  driver.Tick().Lose();
  EXPECT_EQ(driver.engine().NextWakeup() - driver.now(), absl::Milliseconds(375));
}

TEST(SessionTest, AWelcomeStartsTheWaitsOver) {
  EngineDriver driver;
  driver.Tick().Lose().AdvanceToWakeup().Lose().AdvanceToWakeup().Welcome().Lose();
  EXPECT_EQ(driver.engine().NextWakeup() - driver.now(), absl::Milliseconds(500));
}

TEST(SessionTest, ACauseIsToldOnceUntilItChanges) {
  EngineDriver driver;
  driver.Tick().Lose(absl::UnavailableError("refused"));
  EXPECT_THAT(driver.Notes(), AllOf(HasSubstr("cannot reach the coordinator at hub:1"), HasSubstr("refused")));
  driver.AdvanceToWakeup().Lose(absl::UnavailableError("refused"));
  EXPECT_THAT(driver.Notes(), IsEmpty());
  driver.AdvanceToWakeup().Lose(absl::UnavailableError("no route"));
  EXPECT_THAT(driver.Notes(), HasSubstr("no route"));
}

TEST(SessionTest, CausesThatAlternateAreToldOnceEach) {
  EngineDriver driver;
  driver.Tick();
  int told = 0;
  for (int i = 0; i < 8; ++i) {
    driver.Lose(absl::UnavailableError(i % 2 == 0 ? "refused" : "no route"));
    told += driver.Notes().empty() ? 0 : 1;
    driver.AdvanceToWakeup();
  }
  EXPECT_EQ(told, 2);
}

TEST(SessionTest, ALineThatComesAndGoesDoesNotFloodTheLog) {
  EngineDriver driver;
  driver.Tick();
  size_t told = 0;
  for (int i = 0; i < 50; ++i) {
    driver.Welcome();
    told += driver.Notes().empty() ? 0 : 1;
    driver.Lose(absl::UnavailableError("reset"));
    told += driver.Notes().empty() ? 0 : 1;
    driver.AdvanceToWakeup();
  }
  EXPECT_EQ(told, RareLine::kLines);
}

TEST(SessionTest, ItGivesUpWhenTheCoordinatorWasNeverReachedInTime) {
  WorkerEngineOptions options = EngineDriver::DefaultOptions();
  options.connect_timeout = absl::Seconds(3);
  EngineDriver driver(options);
  driver.Tick().Lose(absl::UnavailableError("refused")).Advance(absl::Milliseconds(2999));
  EXPECT_EQ(driver.Find<action::Exit>(), nullptr);
  driver.Advance(absl::Milliseconds(1));
  EXPECT_EQ(CodeOf(driver), ExitCode::kUnreachable);
  EXPECT_THAT(std::string(driver.Find<action::Exit>()->status.message()), AllOf(HasSubstr("hub:1"), HasSubstr("refused"), HasSubstr("3s")));
}

TEST(SessionTest, OnceReachedTheCoordinatorMayBeAwayForAnyTime) {
  WorkerEngineOptions options = EngineDriver::DefaultOptions();
  options.connect_timeout = absl::Seconds(3);
  EngineDriver driver(options);
  driver.Tick().Welcome().Lose().Advance(absl::Hours(5));
  EXPECT_EQ(driver.Find<action::Exit>(), nullptr);
  EXPECT_NE(driver.Find<action::OpenSession>(), nullptr);
}

v1::CoordinatorMessage WelcomeIn(uint32_t version) {
  v1::CoordinatorMessage message;
  message.mutable_welcome()->set_software_version("9.9");
  message.mutable_welcome()->set_protocol_version(version);
  return message;
}

TEST(SessionTest, ACoordinatorThatDoesNotSayWhichVersionItSpeaksSpeaksTheFirst) {
  EngineDriver driver;
  driver.Tick().Receive(WelcomeIn(0));
  EXPECT_TRUE(driver.engine().connected());
}

TEST(SessionTest, ANewerCoordinatorThatSpeaksOurVersionIsFollowed) {
  EngineDriver driver;
  v1::CoordinatorMessage welcome = WelcomeIn(kNewestProtocolVersion);
  welcome.mutable_welcome()->add_capabilities("telepathy");
  welcome.mutable_welcome()->GetReflection()->MutableUnknownFields(welcome.mutable_welcome())->AddVarint(1000, 1);
  driver.Tick().Receive(welcome);
  EXPECT_TRUE(driver.engine().connected());
  v1::CoordinatorMessage unheard_of;
  unheard_of.GetReflection()->MutableUnknownFields(&unheard_of)->AddLengthDelimited(1000, "a body that only a newer release knows");
  driver.Receive(unheard_of);
  EXPECT_THAT(driver.actions(), IsEmpty());
}

TEST(SessionTest, AWelcomeInAVersionThatWeDoNotSpeakEndsTheWorker) {
  EngineDriver driver;
  driver.Tick().Receive(WelcomeIn(kNewestProtocolVersion + 1));
  EXPECT_FALSE(driver.engine().connected());
  EXPECT_EQ(CodeOf(driver), ExitCode::kUsage);
  EXPECT_THAT(std::string(driver.Find<action::Exit>()->status.message()), HasSubstr("upgrade this worker (1.2.3)"));
}

TEST(SessionTest, ASessionWithoutAnAnswerIsGivenUp) {
  EngineDriver driver;
  driver.Tick().Advance(absl::Seconds(20));
  EXPECT_EQ(driver.Reason<action::CloseSession>(), "it does not answer");
  EXPECT_NE(driver.engine().NextWakeup(), absl::InfiniteFuture());
}

TEST(SessionTest, AHeartbeatGoesOutEveryThirdOfTheLease) {
  EngineDriver driver;
  driver.Tick().Welcome();
  EXPECT_EQ(driver.engine().NextWakeup() - driver.now(), absl::Seconds(10));
  driver.Advance(absl::Seconds(9));
  EXPECT_EQ(driver.Sent(v1::WorkerMessage::kHeartbeat), nullptr);
  driver.Advance(absl::Seconds(1));
  EXPECT_NE(driver.Sent(v1::WorkerMessage::kHeartbeat), nullptr);
}

TEST(SessionTest, ASilentCoordinatorIsLeftAfterTwiceTheLease) {
  EngineDriver driver;
  driver.Tick().Welcome().Advance(absl::Seconds(59));
  EXPECT_EQ(driver.Find<action::CloseSession>(), nullptr);
  driver.Advance(absl::Seconds(1));
  EXPECT_THAT(driver.Reason<action::CloseSession>(), HasSubstr("twice the lease"));
  EXPECT_FALSE(driver.engine().connected());
}

TEST(SessionTest, WhatIsSaidOfAnOlderSessionIsIgnored) {
  EngineDriver driver;
  driver.Tick();
  const uint64_t first = driver.session();
  driver.Lose().AdvanceToWakeup().Feed(event::SessionClosed{first, absl::PermissionDeniedError("late news")});
  EXPECT_EQ(driver.Find<action::Exit>(), nullptr);
}

TEST(SessionTest, AfterADrainItReturnsWhenItWasTold) {
  EngineDriver driver;
  v1::CoordinatorMessage drain;
  drain.mutable_drain()->set_reconnect_after_ms(7000);
  driver.Tick().Welcome().Receive(drain).Lose();
  EXPECT_EQ(driver.engine().NextWakeup() - driver.now(), absl::Seconds(7));
  driver.AdvanceToWakeup().Lose();
  EXPECT_EQ(driver.engine().NextWakeup() - driver.now(), absl::Milliseconds(500));
}

TEST(SessionTest, StoppingTellsTheCoordinatorAndEndsWell) {
  EngineDriver driver;
  driver.Join().Feed(event::StopRequested{"maintenance"});
  ASSERT_NE(driver.Sent(v1::WorkerMessage::kLeave), nullptr);
  EXPECT_EQ(driver.Sent(v1::WorkerMessage::kLeave)->leave().reason(), "maintenance");
  EXPECT_EQ(CodeOf(driver), ExitCode::kOk);
  driver.Advance(absl::Hours(1));
  EXPECT_THAT(driver.actions(), IsEmpty());
  EXPECT_EQ(driver.engine().NextWakeup(), absl::InfiniteFuture());
}

TEST(RunTest, AnAcceptedRunIsPreparedBeforeItIsAnswered) {
  EngineDriver driver;
  driver.Tick().Welcome().Offer();
  EXPECT_NE(driver.Find<action::PrepareRun>(), nullptr);
  EXPECT_EQ(driver.Sent(v1::WorkerMessage::kRunAnswer), nullptr);
  driver.Prepare();
  ASSERT_NE(driver.Sent(v1::WorkerMessage::kRunAnswer), nullptr);
  EXPECT_TRUE(driver.Sent(v1::WorkerMessage::kRunAnswer)->run_answer().accepted());
}

TEST(RunTest, ARunOutsideTheConsentIsRefusedAndTheWorkerStays) {
  EngineDriver driver;
  driver.Tick().Welcome().Offer(MakeSpec("koran-1"));
  const auto* answer = driver.Sent(v1::WorkerMessage::kRunAnswer);
  ASSERT_NE(answer, nullptr);
  EXPECT_FALSE(answer->run_answer().accepted());
  EXPECT_THAT(answer->run_answer().refusal(), HasSubstr("consent.runs"));
  EXPECT_EQ(driver.Find<action::Exit>(), nullptr);
  driver.Offer(MakeSpec("bible-2"), "run-2");
  EXPECT_NE(driver.Find<action::PrepareRun>(), nullptr);
}

TEST(RunTest, WithOnceARefusalEndsTheWorkerAfterTheAnswer) {
  EngineDriver driver(Once());
  driver.Tick().Welcome().Offer(MakeSpec("koran-1"));
  EXPECT_NE(driver.Sent(v1::WorkerMessage::kRunAnswer), nullptr);
  EXPECT_EQ(CodeOf(driver), ExitCode::kConsent);
}

TEST(RunTest, TheModelsSizeIsComparedWithTheConsent) {
  WorkerEngineOptions options = EngineDriver::DefaultOptions();
  options.consent.set_max_parameters(16);  // the model has (2+1)*3 + (3+1)*2 = 17
  EngineDriver driver(options);
  driver.Tick().Welcome().Offer();
  ASSERT_NE(driver.Sent(v1::WorkerMessage::kRunAnswer), nullptr);
  EXPECT_THAT(driver.Sent(v1::WorkerMessage::kRunAnswer)->run_answer().refusal(), HasSubstr("17 parameters"));
}

TEST(RunTest, ARunThatTheNewConsentDoesNotCoverIsLeft) {
  EngineDriver driver;
  driver.Tick().Welcome().Offer().Prepare();
  v1::ConsentConfig consent = MakeConsent();
  consent.set_max_rounds(5);
  driver.Feed(event::ConsentChanged{consent});
  ASSERT_NE(driver.Sent(v1::WorkerMessage::kRunAnswer), nullptr);
  EXPECT_THAT(driver.Sent(v1::WorkerMessage::kRunAnswer)->run_answer().refusal(), HasSubstr("consent.max_rounds"));
  ASSERT_NE(driver.Find<action::ReleaseRun>(), nullptr);
  EXPECT_EQ(driver.Find<action::ReleaseRun>()->over, "") << "what is saved of it stays";
}

TEST(RunTest, ARunThatWasExtendedBeyondTheConsentIsLeft) {
  WorkerEngineOptions options = EngineDriver::DefaultOptions();
  options.consent.set_max_rounds(MakeSpec().rounds());
  EngineDriver driver(options);
  driver.Tick().Welcome().Offer().Prepare();
  v1::RunSpec extended = MakeSpec();
  extended.set_rounds(extended.rounds() + 1);
  driver.Offer(extended);
  ASSERT_NE(driver.Sent(v1::WorkerMessage::kRunAnswer), nullptr);
  EXPECT_THAT(driver.Sent(v1::WorkerMessage::kRunAnswer)->run_answer().refusal(), HasSubstr("consent.max_rounds"));
  EXPECT_NE(driver.Find<action::ReleaseRun>(), nullptr);
}

TEST(RunTest, ARunThatWasExtendedWithinTheConsentGoesOnWithoutBeingPreparedAgain) {
  EngineDriver driver;
  driver.Tick().Welcome().Offer().Prepare();
  v1::RunSpec extended = MakeSpec();
  extended.set_rounds(extended.rounds() + 1);
  driver.Offer(extended);
  ASSERT_NE(driver.Sent(v1::WorkerMessage::kRunAnswer), nullptr);
  EXPECT_TRUE(driver.Sent(v1::WorkerMessage::kRunAnswer)->run_answer().accepted());
  EXPECT_EQ(driver.Find<action::PrepareRun>(), nullptr);
}

TEST(RunTest, ARunThatTheNewConsentCoversTooGoesOn) {
  EngineDriver driver;
  driver.Tick().Welcome().Offer().Prepare();
  v1::ConsentConfig consent = MakeConsent();
  consent.add_runs("koran-*");
  driver.Feed(event::ConsentChanged{consent});
  EXPECT_THAT(driver.actions(), IsEmpty());
}

TEST(RunTest, ARunThatWasRefusedIsAskedForAgainWhenTheConsentChanges) {
  EngineDriver driver;
  driver.Tick().Welcome().Offer(MakeSpec("koran-1"));
  v1::ConsentConfig consent = MakeConsent();
  consent.add_runs("koran-*");
  driver.Feed(event::ConsentChanged{consent});
  EXPECT_NE(driver.Find<action::CloseSession>(), nullptr);
  ASSERT_NE(driver.Find<action::OpenSession>(), nullptr) << "a new session is offered every run";
  driver.Welcome().Offer(MakeSpec("koran-1"));
  EXPECT_NE(driver.Find<action::PrepareRun>(), nullptr);
}

TEST(RunTest, AnInvalidRunFromTheNetworkIsRefusedWithItsMistake) {
  EngineDriver driver;
  v1::RunSpec spec = MakeSpec();
  spec.mutable_data()->set_batch_size(0);
  driver.Tick().Welcome().Offer(spec);
  ASSERT_NE(driver.Sent(v1::WorkerMessage::kRunAnswer), nullptr);
  EXPECT_THAT(driver.Sent(v1::WorkerMessage::kRunAnswer)->run_answer().refusal(), HasSubstr("batch_size"));
}

absl::Status BadRow() {
  return WithExitCode(absl::InvalidArgumentError("/data/patients.csv:17: bad row"), ExitCode::kData);
}

TEST(RunTest, WhatIsWrongWithTheDataStaysAtTheSite) {
  EngineDriver driver;
  driver.Tick().Welcome().Offer().Prepare(BadRow());
  ASSERT_NE(driver.Sent(v1::WorkerMessage::kRunAnswer), nullptr);
  EXPECT_THAT(driver.Sent(v1::WorkerMessage::kRunAnswer)->run_answer().refusal(), Not(HasSubstr("patients")));
  EXPECT_THAT(driver.Notes(), HasSubstr("patients.csv:17"));
}

TEST(RunTest, ARunThatDoesNotFitTheDataIsRefusedWithWhatMayBeToldAndTheNextIsPrepared) {
  EngineDriver driver;
  driver.Tick().Welcome().Offer().Prepare(WithRefusal(BadRow(), "no column 'y' (the run's data.label_column)"));
  ASSERT_NE(driver.Sent(v1::WorkerMessage::kRunAnswer), nullptr);
  EXPECT_FALSE(driver.Sent(v1::WorkerMessage::kRunAnswer)->run_answer().accepted());
  EXPECT_EQ(driver.Sent(v1::WorkerMessage::kRunAnswer)->run_answer().refusal(), "no column 'y' (the run's data.label_column)");
  EXPECT_EQ(driver.Find<action::Exit>(), nullptr);
  driver.Offer(MakeSpec("bible-2"), "run-2").Prepare();
  ASSERT_NE(driver.Sent(v1::WorkerMessage::kRunAnswer), nullptr);
  EXPECT_TRUE(driver.Sent(v1::WorkerMessage::kRunAnswer)->run_answer().accepted());
}

TEST(RunTest, WithOnceARunThatDoesNotFitTheDataEndsTheWorker) {
  EngineDriver driver(Once());
  driver.Tick().Welcome().Offer().Prepare(BadRow());
  EXPECT_NE(driver.Sent(v1::WorkerMessage::kRunAnswer), nullptr);
  EXPECT_EQ(CodeOf(driver), ExitCode::kData);
}

TEST(RunTest, AStateFolderThatCannotBeReadEndsTheWorker) {
  EngineDriver driver;
  driver.Tick().Welcome().Offer().Prepare(WithExitCode(absl::AbortedError("state_dir: permission denied"), ExitCode::kStorage));
  EXPECT_EQ(CodeOf(driver), ExitCode::kStorage);
}

TEST(RunTest, ARunThatCannotBePreparedForAnotherReasonLeavesTheWorkerForOthers) {
  EngineDriver driver;
  driver.Tick().Welcome().Offer().Prepare(absl::FailedPreconditionError("other blocks"));
  EXPECT_FALSE(driver.Sent(v1::WorkerMessage::kRunAnswer)->run_answer().accepted());
  EXPECT_EQ(driver.Find<action::Exit>(), nullptr);
  EXPECT_NE(driver.Find<action::ReleaseRun>(), nullptr);
}

TEST(RunTest, TheSameRunOfferedAgainIsAnsweredWithoutPreparingItAgain) {
  EngineDriver driver;
  driver.Join().Lose().AdvanceToWakeup().Welcome().Offer();
  EXPECT_EQ(driver.Find<action::PrepareRun>(), nullptr);
  ASSERT_NE(driver.Sent(v1::WorkerMessage::kRunAnswer), nullptr);
  EXPECT_TRUE(driver.Sent(v1::WorkerMessage::kRunAnswer)->run_answer().accepted());
}

TEST(RunTest, HelloSaysWhatIsHeldAfterABrokenSession) {
  EngineDriver driver;
  driver.Join().Lose().AdvanceToWakeup();
  const auto* hello = driver.Sent(v1::WorkerMessage::kHello);
  ASSERT_NE(hello, nullptr);
  EXPECT_EQ(hello->hello().held().run_id(), "run-1");
  EXPECT_EQ(hello->hello().held().round(), 0u);
  EXPECT_EQ(hello->hello().held().state_hash(), HashOf(0));
}

TEST(RunTest, RunsFollowOneAnotherWithoutARestart) {
  EngineDriver driver;
  driver.Join().End(v1::FINISHED, 0);
  EXPECT_NE(driver.Find<action::ReleaseRun>(), nullptr);
  EXPECT_EQ(driver.Find<action::Exit>(), nullptr);
  EXPECT_FALSE(driver.engine().held().has_value());
  driver.Offer(MakeSpec("bible-2"), "run-2");
  EXPECT_NE(driver.Find<action::PrepareRun>(), nullptr);
}

TEST(RunTest, ANewRunReplacesOneThatWasNotSeenToEnd) {
  EngineDriver driver;
  driver.Join().Start(1);
  ASSERT_TRUE(driver.Training());
  driver.Offer(MakeSpec("bible-2"), "run-2");
  EXPECT_NE(driver.Find<action::ReleaseRun>(), nullptr);
  EXPECT_NE(driver.Find<action::PrepareRun>(), nullptr);
  // The old run's result comes in between and means nothing any more.
  const uint64_t prepare = driver.TakeWork<action::PrepareRun>();
  driver.Train("update of the old run");
  EXPECT_FALSE(driver.engine().has_pending_update());
  driver.Feed(event::RunPrepared{prepare, absl::OkStatus()});
  EXPECT_EQ(driver.Sent(v1::WorkerMessage::kRunAnswer)->run_answer().run_id(), "run-2");
}

TEST(RunTest, WithOnceTheWorkerEndsWithItsRun) {
  const std::pair<v1::RunState, ExitCode> cases[] = {
      {v1::FINISHED, ExitCode::kOk}, {v1::FAILED, ExitCode::kRunFailed}, {v1::STOPPED, ExitCode::kRunFailed}};
  for (const auto& [state, code] : cases) {
    SCOPED_TRACE(v1::RunState_Name(state));
    EngineDriver driver(Once());
    driver.Join().End(state, 0);
    EXPECT_EQ(CodeOf(driver), code);
    EXPECT_THAT(driver.Notes(), HasSubstr("because"));
  }
}

TEST(RunTest, AnEndThatWasMissedIsLearnedAfterReconnecting) {
  EngineDriver driver(Once());
  driver.Join().Lose().AdvanceToWakeup().Welcome().End(v1::FINISHED, 0);
  EXPECT_EQ(CodeOf(driver), ExitCode::kOk);
}

TEST(RunTest, TheEndOfAFinishedRunWaitsForItsLastCommit) {
  EngineDriver driver(Once());
  driver.Join().Commit(1, /*report=*/true);
  const uint64_t apply = driver.TakeWork<action::ApplyCommits>();
  driver.End(v1::FINISHED, 1);
  EXPECT_EQ(driver.Find<action::Exit>(), nullptr);
  driver.Feed(event::CommitsApplied{apply, absl::OkStatus(), {1, HashOf(1)}});
  driver.Feed(event::Evaluated{driver.TakeWork<action::Evaluate>(), Evaluation{1.5, {{"accuracy", 0.5}}}});
  ASSERT_NE(driver.Sent(v1::WorkerMessage::kStateReport), nullptr);
  ASSERT_EQ(driver.Sent(v1::WorkerMessage::kStateReport)->state_report().metrics_size(), 1);
  EXPECT_EQ(driver.Sent(v1::WorkerMessage::kStateReport)->state_report().metrics(0).name(), "accuracy");
  EXPECT_EQ(driver.Sent(v1::WorkerMessage::kStateReport)->state_report().metrics(0).value(), 0.5);
  EXPECT_EQ(driver.Sent(v1::WorkerMessage::kStateReport)->state_report().state_hash(), HashOf(1));
  EXPECT_EQ(driver.Sent(v1::WorkerMessage::kStateReport)->state_report().val_loss(), 1.5f);
  EXPECT_EQ(CodeOf(driver), ExitCode::kOk);
}

TEST(RunTest, TheLastReportOfASiteThatKeepsItsLossesHasItsHash) {
  WorkerEngineOptions options = Once();
  options.withhold_losses = true;
  EngineDriver driver(std::move(options));
  driver.Join().Commit(1, /*report=*/true);
  driver.Feed(event::CommitsApplied{driver.TakeWork<action::ApplyCommits>(), absl::OkStatus(), {1, HashOf(1)}});
  driver.Feed(event::Evaluated{driver.TakeWork<action::Evaluate>(), Evaluation{1.5, {{"accuracy", 0.5}}}});
  ASSERT_NE(driver.Sent(v1::WorkerMessage::kStateReport), nullptr);
  EXPECT_EQ(driver.Sent(v1::WorkerMessage::kStateReport)->state_report().state_hash(), HashOf(1));
  EXPECT_FALSE(driver.Sent(v1::WorkerMessage::kStateReport)->state_report().has_val_loss());
  EXPECT_TRUE(driver.Sent(v1::WorkerMessage::kStateReport)->state_report().metrics().empty());
}

TEST(RunTest, AStoppedRunDoesNotWaitForTheTrainingUnderWay) {
  EngineDriver driver(Once());
  driver.Join().Start(1);
  ASSERT_TRUE(driver.Training());
  driver.End(v1::STOPPED, 0);
  EXPECT_EQ(CodeOf(driver), ExitCode::kRunFailed);
}

class QuietTest : public ::testing::Test {
 protected:
  QuietTest()
      : driver_([this] {
          WorkerEngineOptions options = EngineDriver::DefaultOptions();
          options.quiet_until = [this] { return until_; };
          return options;
        }()) {}
  // To the next look at the clock, which finds this.
  void Look(std::optional<std::string> until) {
    until_ = std::move(until);
    driver_.Advance(absl::Minutes(1));
  }

  std::optional<std::string> until_;
  EngineDriver driver_;
};

TEST_F(QuietTest, TheWorkerLeavesAndReturnsWhenTheyEnd) {
  driver_.Join();
  const uint64_t first = driver_.session();
  // What comes with the last look is a heartbeat's due.
  until_ = "06:00";
  for (int i = 0; i < 10 && driver_.Sent(v1::WorkerMessage::kLeave) == nullptr; ++i) {
    driver_.AdvanceToWakeup();
    v1::CoordinatorMessage ack;
    ack.mutable_heartbeat_ack();
    if (driver_.Sent(v1::WorkerMessage::kLeave) == nullptr) {
      driver_.Receive(std::move(ack));
    }
  }
  ASSERT_NE(driver_.Sent(v1::WorkerMessage::kLeave), nullptr);
  EXPECT_EQ(driver_.Sent(v1::WorkerMessage::kLeave)->leave().reason(), "quiet hours until 06:00");
  EXPECT_THAT(driver_.Notes(), HasSubstr("quiet hours until 06:00"));
  EXPECT_EQ(driver_.Find<action::CloseSession>(), nullptr) << "the message must have time to go";
  driver_.Start(1);
  EXPECT_EQ(driver_.Find<action::Train>(), nullptr) << "nothing is trained any more";
  driver_.AdvanceToWakeup();
  ASSERT_NE(driver_.Find<action::CloseSession>(), nullptr);
  EXPECT_EQ(driver_.Find<action::CloseSession>()->session, first);

  for (int i = 0; i < 100; ++i) {
    driver_.AdvanceToWakeup();
    ASSERT_TRUE(driver_.actions().empty()) << driver_.actions().front().reason;
  }
  Look(std::nullopt);
  EXPECT_NE(driver_.Find<action::OpenSession>(), nullptr);
  EXPECT_EQ(driver_.Sent(v1::WorkerMessage::kHello)->hello().held().state_hash(), HashOf(0)) << "it has kept its state";
  driver_.Welcome().Offer().Plan(EngineDriver::PlanTo(0)).Start(1);
  EXPECT_TRUE(driver_.Training());
}

TEST_F(QuietTest, WhatWasTrainedWhenTheyBeganIsKeptForTheReturn) {
  driver_.Join().Start(1);
  ASSERT_TRUE(driver_.Training());
  Look("06:00");
  driver_.Train("update 1");
  EXPECT_EQ(driver_.Sent(v1::WorkerMessage::kUpdate), nullptr);
  EXPECT_TRUE(driver_.engine().has_pending_update());
  Look(std::nullopt);
  driver_.Welcome().Offer().Plan(EngineDriver::PlanTo(0)).Start(1);
  EXPECT_EQ(driver_.Sent(v1::WorkerMessage::kUpdate)->update().payload(), "update 1");
}

TEST_F(QuietTest, AWorkerThatStartsInThemWaits) {
  until_ = "06:00";
  driver_.Tick();
  EXPECT_EQ(driver_.Find<action::OpenSession>(), nullptr);
  EXPECT_EQ(driver_.engine().NextWakeup(), driver_.now() + absl::Seconds(5));
}

TEST(QuietOnceTest, AWorkerForOneRunHeedsNone) {
  WorkerEngineOptions options = EngineDriver::DefaultOptions();
  options.once = true;
  options.quiet_until = [] { return std::make_optional<std::string>("06:00"); };
  EngineDriver driver(options);
  driver.Tick();
  EXPECT_NE(driver.Find<action::OpenSession>(), nullptr);
}

TEST(SessionTest, AnUpdateLongerThanTheSitesOwnLimitTravelsBesideTheSession) {
  WorkerEngineOptions options = EngineDriver::DefaultOptions();
  options.max_inline_bytes = 4;
  EngineDriver driver(options);
  driver.Join(1000).Start(1);
  ASSERT_TRUE(driver.Training());
  driver.Train("update 1");
  EXPECT_NE(driver.Find<action::Upload>(), nullptr);
}

}  // namespace
}  // namespace tributary::worker
