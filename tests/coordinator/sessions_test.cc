// sessions.cc: who is let in, how a site reaches the current state.
#include "coordinator/coordinator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "tests/coordinator/federation.h"

namespace tributary::coordinator {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(Sessions, ANewerSessionReplacesTheOlderOne) {
  Federation federation(1);
  FakeSite twin(&federation, "site-0", 0);
  federation.ConnectAll();
  twin.Connect();
  EXPECT_TRUE(absl::IsAborted(federation.site(0).closed_with)) << federation.site(0).closed_with;
  federation.Settle();
  EXPECT_THAT(federation.coordinator().GetServerInfo().sites_connected(), ElementsAre("site-0"))
      << "the end of the old one takes nothing away";
  twin.Disconnect();
}

TEST(Sessions, TheFirstMessageIsHello) {
  struct Sink final : SessionSink {
    void Send(std::shared_ptr<const v1::CoordinatorMessage>) override {}
    void Close(const absl::Status& status) override { closed = status; }
    absl::Status closed;
  };
  Federation federation(1);
  Sink rude;
  federation.coordinator().SessionOpened("site-0", &rude);
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
