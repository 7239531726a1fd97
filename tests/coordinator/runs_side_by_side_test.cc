// Runs that name their sites: which go on at once, and what one does to another.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <initializer_list>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/exit_codes.h"
#include "coordinator/metrics.h"
#include "coordinator/queue_bound.h"
#include "optim/snapshot.h"
#include "tests/coordinator/federation.h"

namespace tributary::coordinator {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

v1::RunSpec SpecOf(const std::string& name, uint64_t rounds, std::initializer_list<int> sites) {
  v1::RunSpec spec = MakeSpec(name, rounds, static_cast<int>(sites.size()));
  for (const int site : sites) {
    spec.mutable_participation()->add_sites(absl::StrCat("site-", site));
  }
  return spec;
}

std::string HashOfRunAlone(uint64_t rounds) {
  Federation federation(2);
  const std::string run = Submit(federation, SpecOf("toy", rounds, {0, 1}));
  ConnectAllOfThisRelease(federation);
  EXPECT_EQ(federation.Status(run).state(), v1::FINISHED);
  return federation.Status(run).state_hash();
}

TEST(RunsSideBySide, BothFinishAndEachSiteKnowsItsOwnRunAlone) {
  Federation federation(4);
  const std::string first = Submit(federation, SpecOf("first", 5, {0, 1}));
  const std::string second = Submit(federation, SpecOf("second", 3, {2, 3}));
  EXPECT_EQ(federation.Status(first).state(), v1::WAITING);
  EXPECT_EQ(federation.Status(second).state(), v1::WAITING) << "nothing is in its way";
  ConnectAllOfThisRelease(federation);
  EXPECT_EQ(federation.Status(first).state(), v1::FINISHED);
  EXPECT_EQ(federation.Status(second).state(), v1::FINISHED);
  for (int i = 0; i < 4; ++i) {
    const std::string& own = i < 2 ? first : second;
    ASSERT_TRUE(federation.site(i).end.has_value());
    EXPECT_EQ(federation.site(i).end->run_id(), own);
    EXPECT_EQ(federation.site(i).StateHash(), federation.Status(own).state_hash());
    EXPECT_EQ(SiteOf(federation.Status(own), federation.site(i).name()).updates_included(), i < 2 ? 5U : 3U);
  }
  EXPECT_EQ(federation.Status(first).sites_size(), 2) << "the other run's sites are none of it";
}

TEST(RunsSideBySide, APausedRunHoldsUpItsOwnSitesAlone) {
  Federation federation(4);
  const std::string paused = Submit(federation, SpecOf("paused", 5, {0, 1}));
  ASSERT_TRUE(federation.coordinator().PauseRun(paused, {"anna", ""}).ok());
  const std::string shares = Submit(federation, SpecOf("shares", 1, {1, 2}));
  const std::string other = Submit(federation, SpecOf("other", 2, {3}));
  ConnectAllOfThisRelease(federation);
  EXPECT_EQ(federation.Status(other).state(), v1::FINISHED);
  EXPECT_EQ(federation.Status(shares).state(), v1::SUBMITTED);
  EXPECT_EQ(federation.Status(shares).reason(), absl::StrCat("queued behind run ", paused));
  ASSERT_TRUE(federation.coordinator().ResumeRun(paused, {"anna", ""}).ok());
  federation.RunToEnd(shares);
  EXPECT_EQ(federation.Status(paused).state(), v1::FINISHED);
  EXPECT_EQ(federation.Status(shares).state(), v1::FINISHED);
}

TEST(RunsSideBySide, NobodyOvertakesARunThatWaitsForAllSites) {
  Federation federation(3);
  const std::string first = Submit(federation, SpecOf("first", 1, {0}));
  const std::string all = Submit(federation, MakeSpec("all", 1, 3));
  const std::string late = Submit(federation, SpecOf("late", 1, {1}));
  EXPECT_EQ(federation.Status(all).reason(), absl::StrCat("queued behind run ", first));
  EXPECT_EQ(federation.Status(late).reason(), absl::StrCat("queued behind run ", all));
  ASSERT_TRUE(federation.coordinator().StopRun(all, {"anna", ""}).ok());
  EXPECT_EQ(federation.Status(late).state(), v1::WAITING) << "it waited for that alone";
  ConnectAllOfThisRelease(federation);
  EXPECT_EQ(federation.Status(first).state(), v1::FINISHED);
  EXPECT_EQ(federation.Status(late).state(), v1::FINISHED);
}

TEST(RunsSideBySide, ACoordinatorThatIsKilledGoesOnWithBoth) {
  const std::string expected = HashOfRunAlone(4);
  Federation federation(4);
  const std::string first = Submit(federation, SpecOf("toy", 4, {0, 1}));
  const std::string second = Submit(federation, SpecOf("second", 4, {2, 3}));
  federation.site(1).silent = true;
  federation.site(3).silent = true;
  ConnectAllOfThisRelease(federation);
  EXPECT_EQ(federation.Status(first).state(), v1::RUNNING);
  EXPECT_EQ(federation.Status(second).state(), v1::RUNNING);
  ASSERT_TRUE(federation.coordinator().PauseRun(second, {"anna", ""}).ok());
  federation.Crash();
  ASSERT_TRUE(federation.Restart().ok());
  federation.site(1).silent = false;
  federation.site(3).silent = false;
  ConnectAllOfThisRelease(federation);
  federation.RunToEnd(first);
  EXPECT_EQ(federation.Status(first).state(), v1::FINISHED);
  EXPECT_EQ(federation.Status(first).state_hash(), expected);
  EXPECT_EQ(federation.Status(second).state(), v1::PAUSED);
  ASSERT_TRUE(federation.coordinator().ResumeRun(second, {"anna", ""}).ok());
  federation.RunToEnd(second);
  EXPECT_EQ(federation.Status(second).state(), v1::FINISHED);
}

TEST(RunsSideBySide, NoSiteFetchesFromARunThatHasNotBegun) {
  Federation federation(1);
  Submit(federation, SpecOf("first", 3, {0}));
  v1::DownloadRequest request;
  request.set_run_id(Submit(federation, SpecOf("second", 3, {0})));
  request.set_snapshot_round(0);
  EXPECT_TRUE(absl::IsFailedPrecondition(federation.coordinator().OpenDownload(request, "site-0").status()));
  EXPECT_TRUE(federation.coordinator().OpenDownload(request, std::nullopt).ok()) << "an operator may look";
}

TEST(RunsSideBySide, AMemberFetchesTheModelOfARunThatIsOver) {
  Federation federation(2, /*snapshot_every=*/100);
  const std::string run = Submit(federation, MakeSpec("toy", 5, 2));
  federation.ConnectAll();
  ASSERT_EQ(federation.Status(run).state(), v1::FINISHED);
  v1::DownloadRequest request;
  request.set_run_id(run);
  request.set_newest_snapshot(true);
  const absl::StatusOr<SharedBytes> bytes = federation.coordinator().OpenDownload(request, "site-0");
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_TRUE(federation.coordinator().DigestOfDownload(request, **bytes).ok());
  const absl::StatusOr<RunModel> model = RunModel::Of(federation.Status(run).spec());
  const absl::StatusOr<optim::ReplicaState> state = optim::ReadSnapshot(**bytes, model->layout, optim::SlotCount(model->options.mode));
  ASSERT_TRUE(state.ok()) << state.status();
  EXPECT_EQ(state->round, 5u);
}

TEST(RunsSideBySide, ASiteReachesNoRunThatDoesNotNameIt) {
  Federation federation(2);
  const std::string own = Submit(federation, SpecOf("own", 3, {0}));
  const std::string other = Submit(federation, SpecOf("other", 3, {1}));
  federation.site(1).silent = true;
  ConnectAllOfThisRelease(federation);
  v1::DownloadRequest request;
  request.set_run_id(other);
  request.set_snapshot_round(0);
  EXPECT_TRUE(absl::IsPermissionDenied(federation.coordinator().OpenDownload(request, "site-0").status()));
  EXPECT_TRUE(federation.coordinator().OpenDownload(request, "site-1").ok());
  request.set_newest_snapshot(true);
  EXPECT_TRUE(absl::IsPermissionDenied(federation.coordinator().OpenDownload(request, "site-0").status()));
  request.mutable_commits()->set_first(1);
  request.mutable_commits()->set_last(1);
  EXPECT_TRUE(absl::IsPermissionDenied(federation.coordinator().OpenDownload(request, "site-0").status()));
  federation.site(0).Say(UpdateMessage(other, 1, federation.Status(other).state_hash(), "x"));
  federation.Settle();
  ASSERT_FALSE(federation.site(0).receipts.empty());
  EXPECT_EQ(federation.site(0).receipts.back().result(), v1::Receipt::REJECTED);
  EXPECT_EQ(federation.Status(other).sites_size(), 1) << "and leaves no trace in it";
}

TEST(RunsSideBySide, ARunNamesKnownSitesAndEnoughOfThem) {
  Federation federation(2);
  const absl::Status unknown = federation.coordinator().SubmitRun(SpecOf("toy", 1, {0, 7}), "anna").status();
  EXPECT_TRUE(absl::IsInvalidArgument(unknown));
  EXPECT_THAT(std::string(unknown.message()), HasSubstr("participation.sites: site-7 is not a site of this federation"));
  v1::RunSpec few = SpecOf("toy", 1, {0});
  few.mutable_participation()->set_min_workers(2);
  EXPECT_THAT(std::string(federation.coordinator().SubmitRun(few, "anna").status().message()), HasSubstr("participation.min_workers: 2"));
  v1::RunSpec again = SpecOf("toy", 1, {0});
  again.mutable_participation()->add_sites("site-0");
  const absl::Status twice = federation.coordinator().SubmitRun(again, "anna").status();
  EXPECT_THAT(std::string(twice.message()), HasSubstr("participation.sites: has 'site-0' twice"));
}

TEST(RunsSideBySide, EachHasItsOwnSeries) {
  Federation federation(2);
  CoordinatorMetrics metrics({"site-0", "site-1"});
  federation.metrics = &metrics;
  ASSERT_TRUE(federation.Restart().ok());
  Submit(federation, SpecOf("short", 2, {0}));
  const std::string paused = Submit(federation, SpecOf("paused", 9, {1}));
  ASSERT_TRUE(federation.coordinator().PauseRun(paused, {"anna", ""}).ok());
  ConnectAllOfThisRelease(federation);
  EXPECT_THAT(metrics.Text(), AllOf(HasSubstr("tributary_round{run=\"short\"} 2\n"), HasSubstr("tributary_round{run=\"paused\"} 0\n"),
                                    HasSubstr("tributary_run_site{run=\"short\",site=\"site-0\"} 1\n"),
                                    Not(HasSubstr("tributary_run_site{run=\"short\",site=\"site-1\"}")),
                                    HasSubstr("tributary_run_site{run=\"paused\",site=\"site-1\"} 1\n"),
                                    HasSubstr("tributary_run_info{run=\"short\",state=\"finished\"} 1\n"),
                                    HasSubstr("tributary_run_info{run=\"paused\",state=\"paused\"} 1\n")));
}

TEST(RunsSideBySide, OnlySoManyRunsMayBeThereOfOneOperatorAndInAll) {
  Federation federation(2);
  const auto submit = [&](size_t number, const std::string& operator_name) {
    return federation.coordinator().SubmitRun(MakeSpec(absl::StrCat("toy-", number), 3, 2), operator_name).status();
  };
  for (size_t i = 0; i < kMaxRunsOfOperator; ++i) {
    ASSERT_EQ(submit(i, "anna"), absl::OkStatus());
  }
  const absl::Status own = submit(kMaxRunsOfOperator, "anna");
  EXPECT_TRUE(absl::IsResourceExhausted(own)) << own;
  EXPECT_EQ(ExitCodeOf(own), ExitCode::kUsage);
  EXPECT_THAT(std::string(own.message()), HasSubstr("operator anna has 32 runs that are not over"));
  for (size_t i = kMaxRunsOfOperator; i < kMaxRuns; ++i) {
    ASSERT_EQ(submit(i, absl::StrCat("bert-", i % 2)), absl::OkStatus());
  }
  EXPECT_TRUE(absl::IsResourceExhausted(submit(kMaxRuns, "carla")));
  ASSERT_TRUE(federation.coordinator().StopRun("toy-5", {"anna", ""}).ok());
  EXPECT_EQ(submit(kMaxRuns, "carla"), absl::OkStatus()) << "one is over";
}

}  // namespace
}  // namespace tributary::coordinator
