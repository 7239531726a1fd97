// `tributary run extend`: what it does to the model, to sites and to the queue, and when it is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/coordinator/federation.h"

namespace tributary::coordinator {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr uint64_t kRounds = 4;
constexpr uint64_t kExtended = 7;

const OperatorAct kAnna{"anna", ""};

// The model of a run that had all rounds from the start, and said for how many its schedule is.
std::string HashFromTheStart(const std::string& mode) {
  Federation federation(2);
  v1::RunSpec spec = MakeSpec("toy", kExtended, 2, mode);
  spec.mutable_optimizer()->mutable_learning_rate()->set_rounds(kRounds);
  const std::string run = Submit(federation, spec);
  ConnectAllOfThisRelease(federation);
  federation.RunToEnd(run);
  EXPECT_EQ(federation.Status(run).state(), v1::FINISHED) << federation.Status(run).reason();
  return federation.Status(run).state_hash();
}

void ExpectAllRounds(Federation& federation, const std::string& run, const std::string& hash) {
  federation.RunToEnd(run);
  const v1::RunStatus status = federation.Status(run);
  EXPECT_EQ(status.state(), v1::FINISHED) << status.reason();
  EXPECT_EQ(status.round(), kExtended);
  EXPECT_EQ(status.spec().rounds(), kExtended);
  EXPECT_EQ(status.spec().optimizer().learning_rate().rounds(), kRounds);
  EXPECT_EQ(CommonHash(federation, run), hash);
}

class ExtendedRun : public ::testing::TestWithParam<std::string> {
 protected:
  v1::RunSpec Spec() const { return MakeSpec("toy", kRounds, 2, GetParam()); }
};

TEST_P(ExtendedRun, ExtendedInARoundItEndsWithTheModelOfALongerRun) {
  Federation federation(2);
  const std::string run = Submit(federation, Spec());
  federation.site(1).silent = true;
  ConnectAllOfThisRelease(federation);
  ASSERT_EQ(federation.Status(run).state(), v1::RUNNING);
  const absl::StatusOr<v1::RunStatus> status = federation.coordinator().ExtendRun(run, kExtended, kAnna);
  ASSERT_TRUE(status.ok()) << status.status();
  EXPECT_EQ(status->spec().rounds(), kExtended);
  federation.site(1).silent = false;
  ExpectAllRounds(federation, run, HashFromTheStart(GetParam()));
}

TEST_P(ExtendedRun, ExtendedWhileReportsAreAwaitedItGoesOn) {
  Federation federation(2);
  federation.site(1).reports = false;
  const std::string run = Submit(federation, Spec());
  ConnectAllOfThisRelease(federation);
  ASSERT_THAT(federation.Status(run).reason(), HasSubstr("waiting for the final state of site-1"));
  ASSERT_TRUE(federation.coordinator().ExtendRun(run, kExtended, kAnna).ok());
  federation.site(1).reports = true;
  ExpectAllRounds(federation, run, HashFromTheStart(GetParam()));
}

TEST_P(ExtendedRun, ExtendedAfterItHasFinishedItGoesOn) {
  Federation federation(2);
  const std::string run = Submit(federation, Spec());
  ConnectAllOfThisRelease(federation);
  ASSERT_EQ(federation.Status(run).state(), v1::FINISHED);
  const absl::StatusOr<v1::RunStatus> status = federation.coordinator().ExtendRun("toy", kExtended, kAnna);
  ASSERT_TRUE(status.ok()) << status.status();
  EXPECT_EQ(status->run_id(), run);
  EXPECT_EQ(status->finished_unix_ms(), 0);
  ExpectAllRounds(federation, run, HashFromTheStart(GetParam()));
}

TEST_P(ExtendedRun, AtNoWriteDoesACrashChangeTheModel) {
  const std::string expected = HashFromTheStart(GetParam());
  for (const bool finished : {true, false}) {
    for (const auto fault : {FaultyJournal::Fault::kNotWritten, FaultyJournal::Fault::kWrittenButNotAcknowledged}) {
      for (int write = 0; write < 4; ++write) {
        SCOPED_TRACE(absl::StrCat(finished ? "finished" : "in a round", ", fault at write ", write));
        Federation federation(2);
        federation.site(1).silent = !finished;
        const std::string run = Submit(federation, Spec());
        ConnectAllOfThisRelease(federation);
        ASSERT_TRUE(federation.Restart(write, fault).ok());
        EXPECT_EQ(federation.coordinator().ExtendRun(run, kExtended, kAnna).ok(), write > 0);
        federation.site(1).silent = false;
        federation.ConnectAll();
        ASSERT_FALSE(federation.alive());
        ASSERT_TRUE(federation.Restart().ok());
        const bool durable = federation.Status(run).spec().rounds() == kExtended;
        EXPECT_EQ(durable, write > 0 || fault == FaultyJournal::Fault::kWrittenButNotAcknowledged);
        if (!durable) {
          ASSERT_TRUE(federation.coordinator().ExtendRun(run, kExtended, kAnna).ok());
        }
        ExpectAllRounds(federation, run, expected);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Modes, ExtendedRun, ::testing::Values("distro", "allreduce", "diloco"),
                         [](const auto& info) { return info.param; });

TEST(ExtendRun, ASiteThatForgotAFinishedRunStartsFromItsLastSnapshot) {
  Federation federation(2);
  const std::string run = Submit(federation, MakeSpec("toy", kRounds, 2, "allreduce"));
  ConnectAllOfThisRelease(federation);
  for (int i = 0; i < 2; ++i) {
    federation.site(i).Forget();
    federation.site(i).plans.clear();
  }
  ASSERT_TRUE(federation.coordinator().ExtendRun(run, kExtended, kAnna).ok());
  ExpectAllRounds(federation, run, HashFromTheStart("allreduce"));  // whose sites keep nothing from round to round
  ASSERT_FALSE(federation.site(0).plans.empty());
  EXPECT_EQ(federation.site(0).plans[0].snapshot_round(), kRounds);
}

TEST(ExtendRun, ItsSitesAreAskedForTheirConsentAgainBeforeAnotherRoundStarts) {
  Federation federation(2);
  federation.site(1).reports = false;
  const std::string run = Submit(federation, MakeSpec("toy", kRounds, 1));
  ConnectAllOfThisRelease(federation);
  ASSERT_EQ(federation.Status(run).round(), kRounds);
  federation.site(0).refusal = "consent.max_rounds: at most 4";
  const size_t starts = federation.site(0).starts.size();
  const uint64_t included = SiteOf(federation.Status(run), "site-0").updates_included();
  ASSERT_TRUE(federation.coordinator().ExtendRun(run, kExtended, kAnna).ok());
  EXPECT_THAT(std::string(federation.site(0).closed_with.message()), HasSubstr("has more rounds now, and is offered anew"));
  federation.site(1).reports = true;
  federation.RunToEnd(run);
  EXPECT_EQ(federation.Status(run).round(), kExtended) << "the other site is enough";
  EXPECT_EQ(federation.site(0).starts.size(), starts);
  EXPECT_EQ(SiteOf(federation.Status(run), "site-0").updates_included(), included);
}

TEST(ExtendRun, AWorkerThatWouldNotAskForConsentAgainIsLeftOut) {
  Federation federation(1);
  const std::string run = Submit(federation, MakeSpec("toy", kRounds, 1));
  federation.ConnectAll();
  ASSERT_TRUE(federation.coordinator().ExtendRun(run, kExtended, kAnna).ok());
  federation.Settle();
  EXPECT_THAT(federation.Status(run).reason(), HasSubstr("lacks learning_rate:rounds: upgrade its worker"));
}

TEST(ExtendRun, AQueuedRunBeginsWithMoreRoundsAndAFinishedOneTakesItsOldPlace) {
  Federation federation(2);
  const std::string first = Submit(federation, MakeSpec("first", 1, 2));
  ConnectAllOfThisRelease(federation);
  federation.site(1).silent = true;
  const std::string paused = Submit(federation, MakeSpec("paused", 2, 2));
  ASSERT_TRUE(federation.coordinator().PauseRun(paused, kAnna).ok());
  const std::string queued = Submit(federation, MakeSpec("queued", 1, 2));
  ASSERT_TRUE(federation.coordinator().ExtendRun(first, 2, kAnna).ok());
  ASSERT_TRUE(federation.coordinator().ExtendRun(queued, 3, kAnna).ok());
  EXPECT_EQ(federation.Status(first).reason(), absl::StrCat("queued behind run ", paused));
  EXPECT_EQ(federation.Status(queued).reason(), absl::StrCat("queued behind run ", first));
  federation.site(1).silent = false;
  ASSERT_TRUE(federation.coordinator().ResumeRun(paused, kAnna).ok());
  federation.RunToEnd(queued);
  EXPECT_EQ(federation.Status(first).round(), 2U);
  EXPECT_EQ(federation.Status(queued).round(), 3U);
}

TEST(ExtendRun, APausedRunStaysPaused) {
  Federation federation(2);
  const std::string run = Submit(federation, MakeSpec("toy", kRounds, 2));
  ASSERT_TRUE(federation.coordinator().PauseRun(run, kAnna).ok());
  ASSERT_TRUE(federation.coordinator().ExtendRun(run, kExtended, kAnna).ok());
  ASSERT_TRUE(federation.Restart().ok());
  EXPECT_EQ(federation.Status(run).state(), v1::PAUSED);
  EXPECT_EQ(federation.Status(run).spec().rounds(), kExtended);
}

TEST(ExtendRun, WhoDidItIsInTheJournal) {
  Federation federation(1);
  const std::string run = Submit(federation, MakeSpec("toy", 1, 1));
  ASSERT_TRUE(federation.coordinator().ExtendRun(run, 2, kAnna).ok());
  const absl::StatusOr<std::vector<JournaledEvent>> events = federation.journal().Events(run);
  ASSERT_TRUE(events.ok());
  EXPECT_EQ(events->back().kind, "extended");
  EXPECT_EQ(events->back().actor, "anna");
}

TEST(ExtendRun, IsRefusedForWhatCannotGoOn) {
  Federation federation(2);
  Coordinator& coordinator = federation.coordinator();
  EXPECT_TRUE(absl::IsNotFound(coordinator.ExtendRun("none", 9, kAnna).status()));
  const std::string run = Submit(federation, MakeSpec("toy", kRounds, 2));
  federation.site(1).silent = true;
  ConnectAllOfThisRelease(federation);
  const absl::Status fewer = coordinator.ExtendRun(run, kRounds, kAnna).status();
  EXPECT_TRUE(absl::IsInvalidArgument(fewer));
  EXPECT_THAT(std::string(fewer.message()), HasSubstr("has 4 rounds; to extend it, name more than that"));
  EXPECT_TRUE(absl::IsInvalidArgument(coordinator.ExtendRun(run, uint64_t{1} << 40, kAnna).status()));
  ASSERT_TRUE(coordinator.StopRun(run, {"anna", "wrong data"}).ok());
  const absl::Status stopping = coordinator.ExtendRun(run, kExtended, kAnna).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(stopping));
  EXPECT_THAT(std::string(stopping.message()), HasSubstr("is draining and cannot be extended (stopped by anna: wrong data)"));
  federation.RunToEnd(run);
  const absl::Status stopped = coordinator.ExtendRun(run, kExtended, kAnna).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(stopped));
  EXPECT_THAT(std::string(stopped.message()), AllOf(HasSubstr("is stopped and cannot be extended"), HasSubstr("model.initial_weights")));
}

TEST(ExtendRun, IsRefusedWhenItsNameIsTakenOrItsStateGone) {
  Federation federation(1);
  const std::string run = Submit(federation, MakeSpec("toy", 1, 1));
  ConnectAllOfThisRelease(federation);
  ASSERT_EQ(federation.Status(run).state(), v1::FINISHED);
  const std::string last_state = federation.NewestSnapshotFile();
  federation.site(0).silent = true;
  const std::string newer = Submit(federation, MakeSpec("toy", 1, 1));
  EXPECT_TRUE(absl::IsAlreadyExists(federation.coordinator().ExtendRun(run, 2, kAnna).status()));
  ASSERT_TRUE(federation.coordinator().StopRun(newer, kAnna).ok());
  federation.site(0).silent = false;
  federation.RunToEnd(newer);
  ASSERT_EQ(std::remove(last_state.c_str()), 0);
  const absl::Status gone = federation.coordinator().ExtendRun(run, 2, kAnna).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(gone)) << gone;
  EXPECT_THAT(std::string(gone.message()), HasSubstr("is not kept any more"));
}

}  // namespace
}  // namespace tributary::coordinator
