// sessions.cc: who is let in, how a site reaches the current state.
#include "coordinator/coordinator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "coordinator/metrics.h"
#include "tests/coordinator/federation.h"

namespace tributary::coordinator {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(Sessions, AWorkerThatComesBackReplacesItsOwnSessionAtOnce) {
  Federation federation(1);
  FakeSite again(&federation, "site-0", 0);
  again.secret = federation.site(0).secret;
  federation.ConnectAll();
  again.Connect();
  EXPECT_TRUE(absl::IsAborted(federation.site(0).closed_with)) << federation.site(0).closed_with;
  federation.Settle();
  EXPECT_THAT(federation.coordinator().GetServerInfo().sites_connected(), ElementsAre("site-0"))
      << "the end of the old one takes nothing away";
  again.Disconnect();
}

// Whoever has a site's key and not the worker's secret.
TEST(Sessions, ASecondWorkerTakesNothingFromTheOneThatIsThere) {
  for (const char* secret : {"another secret", ""}) {
    Federation federation(2);
    CoordinatorMetrics metrics({"site-0"});
    federation.metrics = &metrics;
    federation.Crash();
    ASSERT_TRUE(federation.Restart().ok());
    federation.site(0).Connect();
    federation.Settle();
    const std::string run = Submit(federation, MakeSpec("toy", 3, 2));
    FakeSite thief(&federation, "site-0", 7);
    thief.secret = secret;
    for (int attempt = 0; attempt < 50; ++attempt) {
      thief.Connect();
      EXPECT_TRUE(absl::IsAlreadyExists(thief.closed_with)) << thief.closed_with;
      EXPECT_THAT(std::string(thief.closed_with.message()), AllOf(HasSubstr("site-0"), HasSubstr("try again"), HasSubstr("stolen")));
      thief.Disconnect();
    }
    federation.Settle();
    EXPECT_TRUE(federation.site(0).closed_with.ok()) << federation.site(0).closed_with;
    EXPECT_THAT(federation.coordinator().GetServerInfo().sites_connected(), ElementsAre("site-0"));
    EXPECT_THAT(metrics.Text(), HasSubstr("tributary_session_conflicts_total{site=\"site-0\"} 50"));
    std::vector<JournaledEvent> events = *federation.journal().Events(run);
    std::erase_if(events, [](const JournaledEvent& event) { return event.kind != "contested"; });
    ASSERT_EQ(events.size(), 1u) << "however often it tries";
    EXPECT_THAT(events[0].detail, AllOf(HasSubstr("192.0.2.8:"), HasSubstr("192.0.2.1:"))) << "both are named";
  }
}

TEST(Sessions, TheSessionOfAWorkerThatIsGoneIsFreeOnceItsLeaseIsLost) {
  Federation federation(1);
  FakeSite gone(&federation, "site-0", 0);
  gone.secret = "";
  gone.Connect();
  FakeSite& successor = federation.site(0);
  successor.secret = "";
  federation.Advance(absl::Seconds(29));
  successor.Connect();
  EXPECT_TRUE(absl::IsAlreadyExists(successor.closed_with)) << "a release without a secret cannot say that it is the same";
  successor.Disconnect();
  federation.Advance(absl::Seconds(2));
  successor.closed_with = absl::OkStatus();
  successor.Connect();
  EXPECT_TRUE(successor.closed_with.ok()) << successor.closed_with;
  EXPECT_THAT(federation.coordinator().GetServerInfo().sites_connected(), ElementsAre("site-0"));
}

TEST(Sessions, NobodyButTheWorkerWithTheSessionMovesBulkForItsSite) {
  Federation federation(2);
  federation.site(1).secret = "";
  EXPECT_TRUE(federation.coordinator().CheckWorker("site-0", "any").ok()) << "nobody has a session";
  federation.ConnectAll();
  EXPECT_TRUE(federation.coordinator().CheckWorker("site-0", federation.site(0).secret).ok());
  EXPECT_TRUE(absl::IsAlreadyExists(federation.coordinator().CheckWorker("site-0", "any")));
  EXPECT_TRUE(absl::IsAlreadyExists(federation.coordinator().CheckWorker("site-0", "")));
  EXPECT_TRUE(federation.coordinator().CheckWorker("site-1", "").ok()) << "of a release without a secret nothing can be told";
}

TEST(Sessions, TheFirstMessageIsHello) {
  struct Sink final : SessionSink {
    void Send(std::shared_ptr<const v1::CoordinatorMessage>) override {}
    void Close(const absl::Status& status) override { closed = status; }
    absl::Status closed;
  };
  Federation federation(1);
  Sink rude;
  federation.coordinator().SessionOpened("site-0", &rude, {"192.0.2.9:1", "a secret"});
  v1::WorkerMessage ready;
  ready.mutable_ready();
  federation.coordinator().MessageReceived("site-0", &rude, ready, 10);
  EXPECT_TRUE(absl::IsFailedPrecondition(rude.closed));
}

TEST(Sessions, RefusalsAreQuotedWhenTheRunFailsForWantOfWorkers) {
  Federation federation(2);
  federation.site(1).refusal = "consent.runs of this site does not cover the run";
  const std::string run = Submit(federation, MakeSpec("toy", 3, 2));
  federation.ConnectAll();
  EXPECT_EQ(federation.Status(run).state(), v1::WAITING);
  EXPECT_EQ(SiteOf(federation.Status(run), "site-1").activity(), "refused: consent.runs of this site does not cover the run");
  federation.Advance(absl::Minutes(5) + absl::Seconds(1));
  EXPECT_EQ(federation.Status(run).state(), v1::FAILED);
  EXPECT_THAT(federation.Status(run).reason(), HasSubstr("refused: site-1 (consent.runs of this site does not cover the run)"));
  ASSERT_TRUE(federation.site(0).end.has_value());
  EXPECT_EQ(federation.site(0).end->state(), v1::FAILED);
  const std::vector<JournaledEvent> events = *federation.journal().Events(run);
  EXPECT_TRUE(std::any_of(events.begin(), events.end(), [](const JournaledEvent& event) {
    return event.site == "site-1" && event.kind == "refused" && event.detail == "consent.runs of this site does not cover the run";
  }));
}

TEST(Sessions, ASiteFarBehindIsBroughtUpToDateByCommitsAloneWhenTheyAreFewerBytes) {
  Federation federation(3, 1000);
  const std::string run = Submit(federation, MakeSpec("toy", 40, 3, "signsgd", ""));
  federation.site(2).alter = [](std::string& payload, uint64_t round) {
    if (round == 2) {
      payload.clear();
    }
  };
  federation.site(0).alter = [](std::string& payload, uint64_t round) {
    if (round == 30) {
      payload.clear();
    }
  };
  federation.ConnectAll();
  ASSERT_EQ(federation.Status(run).round(), 1u);
  federation.site(2).Disconnect();
  federation.Advance(absl::Seconds(61));
  const v1::RunStatus status = federation.Status(run);
  EXPECT_THAT(status.reason(), HasSubstr("waiting for 1 more of 3 workers"));
  federation.site(2).Connect();
  federation.Settle();
  ASSERT_EQ(federation.Status(run).round(), 29u);
  EXPECT_FALSE(federation.site(2).plans.back().needs_snapshot());
  EXPECT_EQ(federation.site(2).plans.back().first_commit(), 2u);
}

TEST(Sessions, PlansTheFewestBytes) {
  Federation federation(2, 4);
  federation.site(1).alter = [](std::string& payload, uint64_t round) {
    if (round == 7) {
      payload.clear();
    }
  };
  const std::string run = Submit(federation, MakeSpec("toy", 50, 2));
  federation.ConnectAll();
  ASSERT_EQ(federation.Status(run).round(), 6u);
  FakeSite& site = federation.site(0);

  site.Disconnect();
  site.Connect();
  federation.Settle();
  EXPECT_FALSE(site.plans.back().needs_snapshot()) << "what it holds is current";
  EXPECT_EQ(site.plans.back().target_round(), 6u);
  EXPECT_EQ(site.plans.back().first_commit(), 7u);

  site.Disconnect();
  site.Forget();
  site.Connect();
  federation.Settle();
  EXPECT_TRUE(site.plans.back().needs_snapshot());
  EXPECT_EQ(site.plans.back().snapshot_round(), 4u) << "the newest";
  EXPECT_EQ(site.plans.back().first_commit(), 5u);
  EXPECT_EQ(site.plans.back().reason(), "");
}

// A line that breaks finds what it has begun to fetch, although the federation has gone on.
TEST(Sessions, AnUnfinishedPlanIsGivenAgainToASiteThatComesBackAsItWas) {
  Federation federation(3, 2);
  for (const int number : {0, 1}) {
    federation.site(number).alter = [number](std::string& payload, uint64_t round) {
      if ((round == 4 && number == 1) || round == 8) {
        payload.clear();
      }
    };
  }
  const std::string run = Submit(federation, MakeSpec("toy", 50, 2, "signsgd"));
  FakeSite& late = federation.site(2);
  late.idle = true;
  federation.site(0).Connect();
  federation.site(1).Connect();
  federation.Settle();
  ASSERT_EQ(federation.Status(run).round(), 3u);
  late.Connect();
  federation.Settle();
  ASSERT_EQ(late.plans.back().snapshot_round(), 2u);
  ASSERT_EQ(late.plans.back().target_round(), 3u);
  late.Disconnect();
  federation.Advance(absl::Seconds(61));
  ASSERT_EQ(federation.Status(run).round(), 7u);
  EXPECT_EQ(federation.journal().Snapshots(run)->size(), 3u) << "of rounds 0, 2 and 6";

  // Again and again, until it has got there; then it is told the rest.
  for (const bool idle : {true, false}) {
    late.Connect();
    late.idle = idle;
    late.plans.clear();
    federation.Settle();
    EXPECT_EQ(late.plans.front().snapshot_round(), 2u);
    EXPECT_EQ(late.plans.front().target_round(), 3u);
    if (idle) {
      late.Disconnect();
    }
  }
  for (const int number : {0, 1}) {
    federation.site(number).Disconnect();
    federation.site(number).alter = nullptr;
    federation.site(number).Connect();
  }
  federation.RunToEnd(run);
  EXPECT_EQ(federation.Status(run).state(), v1::FINISHED);
  CommonHash(federation, run);
  const std::vector<JournaledSnapshot> snapshots = *federation.journal().Snapshots(run);
  EXPECT_EQ(snapshots[1].round, 50u) << "nobody wants the others any more";
}

TEST(Sessions, AnUnfinishedPlanIsOfNoUseToASiteInAnotherState) {
  Federation federation(3, 2);
  for (const int number : {0, 1}) {
    federation.site(number).alter = [number](std::string& payload, uint64_t round) {
      if ((round == 4 && number == 1) || round == 20) {
        payload.clear();
      }
    };
  }
  const std::string run = Submit(federation, MakeSpec("toy", 50, 2));
  federation.ConnectAll();
  FakeSite& site = federation.site(2);
  ASSERT_EQ(federation.Status(run).round(), 3u);
  site.Disconnect();
  site.Connect();
  site.idle = true;
  federation.Settle();
  ASSERT_EQ(site.plans.back().target_round(), 3u) << "nothing to fetch";
  site.Disconnect();
  federation.Advance(absl::Seconds(61));
  const uint64_t round = federation.Status(run).round();
  ASSERT_GT(round, 3u);
  site.Connect();
  federation.Settle();
  EXPECT_EQ(site.plans.back().target_round(), round);
  site.Disconnect();
  site.Forget();
  site.Connect();
  federation.Settle();
  EXPECT_TRUE(site.plans.back().needs_snapshot());
  EXPECT_GT(site.plans.back().snapshot_round(), 3u);
}

TEST(Sessions, ARunThatEndedWhileASiteWasAwayIsToldOnItsReturn) {
  Federation federation(2);
  const std::string run = Submit(federation, MakeSpec("toy", 3, 1));
  federation.site(1).silent = true;
  federation.ConnectAll();
  federation.site(1).Disconnect();
  federation.RunToEnd(run);
  federation.site(1).Disconnect();
  federation.site(1).end.reset();
  federation.site(1).Connect();
  federation.Settle();
  ASSERT_TRUE(federation.site(1).end.has_value());
  EXPECT_EQ(federation.site(1).end->run_id(), run);
}

}  // namespace
}  // namespace tributary::coordinator
