// A coordinator that asks for more than the run that the site consented to can need.
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "optim/commit.h"
#include "tests/worker/engine_driver.h"

namespace tributary::worker {
namespace {

using ::testing::HasSubstr;

// The session is closed with a reason, and the worker stays: it tries again.
void ExpectBrokenOff(EngineDriver& driver, const std::string& why) {
  EXPECT_NE(driver.Find<action::CloseSession>(), nullptr) << why;
  EXPECT_THAT(driver.Reason<action::CloseSession>(), HasSubstr(why));
  EXPECT_THAT(driver.Notes(), HasSubstr(why));
  EXPECT_EQ(driver.Find<action::Exit>(), nullptr) << why;
  EXPECT_NE(driver.AdvanceToWakeup().Find<action::OpenSession>(), nullptr) << why;
}

TEST(WorkerEngineBounds, ARunIdThatIsNoneEndsTheSessionAndNotTheWorker) {
  for (const std::string& id : {std::string(), std::string("../../etc/passwd"), std::string("run\n1"), std::string(101, 'a'),
                                std::string("-run"), std::string("run\0", 4), std::string("Run")}) {
    EngineDriver driver;
    driver.Tick().Welcome().Offer(MakeSpec(), id);
    EXPECT_EQ(driver.Find<action::PrepareRun>(), nullptr);
    ExpectBrokenOff(driver, absl::StrCat("a run whose id has ", id.size(), " bytes"));
  }
}

TEST(WorkerEngineBounds, RunAfterRunIsNotRememberedWithoutEnd) {
  EngineDriver driver;
  driver.Tick().Welcome();
  for (int i = 0; i < 100; ++i) {
    driver.Offer(MakeSpec(), absl::StrCat("run-", i));
  }
  driver.Prepare(absl::InvalidArgumentError("not this data")).Lose();
  std::set<std::string> asked;
  for (int i = 0; i < 150; ++i) {
    driver.AdvanceToWakeup();
    const v1::WorkerMessage* const hello = driver.Sent(v1::WorkerMessage::kHello);
    ASSERT_NE(hello, nullptr);
    asked.insert(hello->hello().held().run_id());
    driver.Welcome().Lose();
  }
  EXPECT_LE(asked.size(), 64U);
}

TEST(WorkerEngineBounds, NothingIsFetchedOfRoundsThatTheRunDoesNotHave) {
  EngineDriver driver;
  driver.Join().Plan(EngineDriver::PlanTo(uint64_t{1} << 40));
  EXPECT_EQ(driver.Find<action::Download>(), nullptr);
  ExpectBrokenOff(driver, "a plan to the state of round 1099511627776, and the run has 10");
}

TEST(WorkerEngineBounds, ASnapshotIsNotOfALaterRoundThanItsPlan) {
  EngineDriver driver;
  driver.Join().Plan(EngineDriver::PlanTo(3, 4));
  ExpectBrokenOff(driver, "a plan to round 3 from the snapshot of round 4");
}

TEST(WorkerEngineBounds, ARoundOrCommitAfterTheLastOneEndsTheSession) {
  EngineDriver starts;
  starts.Join().Start(11);
  ExpectBrokenOff(starts, "the start of round 11, and the run has 10");
  EngineDriver commits;
  commits.Join().Commit(11);
  ExpectBrokenOff(commits, "a commit of round 11, and the run has 10");
}

TEST(WorkerEngineBounds, ACommitIsNoLongerThanItsModelTakes) {
  EngineDriver driver;
  driver.Join().Commit(1, false, std::string(100'000, 'x'));
  ExpectBrokenOff(driver, "a commit of 100000 bytes where the model takes ");
}

EngineDriver DriverOf(uint64_t rounds, uint64_t parameters) {
  WorkerEngineOptions options = EngineDriver::DefaultOptions();
  options.consent.set_max_rounds(rounds);
  options.consent.set_max_parameters(parameters);
  return EngineDriver(std::move(options));
}

TEST(WorkerEngineBounds, CommitsThatArriveFasterThanTheyCanBeAppliedAreNotKeptWithoutEnd) {
  v1::RunSpec spec = MakeSpec();
  spec.set_rounds(5000);
  EngineDriver driver = DriverOf(5000, 1000);
  // The snapshot is on its way, and does not arrive.
  driver.Tick().Welcome().Offer(spec).Prepare().Plan(EngineDriver::PlanTo(1, 1));
  ASSERT_NE(driver.Find<action::Download>(), nullptr);
  uint64_t round = 2;
  while (round < 5000 && driver.Commit(round).Sent(v1::WorkerMessage::kReady) == nullptr) {
    ++round;
  }
  EXPECT_EQ(round, 1026U);
  EXPECT_NE(driver.Find<action::CancelTransfer>(), nullptr);
  EXPECT_EQ(driver.Find<action::Exit>(), nullptr);
}

TEST(WorkerEngineBounds, ALongWayIsFetchedInPartsThatFitIntoMemory) {
  v1::RunSpec spec = MakeSpec();
  spec.mutable_optimizer()->set_mode(v1::OptimizerSpec::ALLREDUCE);
  spec.mutable_model()->mutable_mlp()->set_inputs(9000);
  spec.mutable_model()->mutable_mlp()->set_hidden(0, 1000);
  EngineDriver driver = DriverOf(100, 10'000'000);
  driver.Tick().Welcome().Offer(spec).Prepare().Plan(EngineDriver::PlanTo(0, 0));
  driver.Feed(event::SnapshotLoaded{driver.TakeWork<action::InitializeState>(), ReplicaPosition{0, HashOf(0)}});
  driver.Plan(EngineDriver::PlanTo(2));
  for (uint64_t round = 1; round <= 2; ++round) {
    const auto* download = driver.Find<action::Download>();
    ASSERT_NE(download, nullptr);
    EXPECT_EQ(download->request.commits().first(), round);
    EXPECT_EQ(download->request.commits().last(), round);
    EXPECT_LT(download->max_bytes, uint64_t{37} << 20);
    driver.Feed(event::Downloaded{download->transfer, optim::CommitRecordPrefix(6) + "record", 10});
    driver.Applied(round);
  }
  EXPECT_NE(driver.Sent(v1::WorkerMessage::kReady), nullptr);
}

}  // namespace
}  // namespace tributary::worker
