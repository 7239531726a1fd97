// The bound on norms, and what becomes of a site whose updates are refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "coordinator/coordinator.h"
#include "coordinator/run/strikes.h"
#include "tests/coordinator/federation.h"

namespace tributary::coordinator {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// A dense update of the largest values there may be.
void Poison(std::string& payload, uint64_t) {
  const float largest = 1024;
  for (size_t at = 1; at + sizeof(largest) <= payload.size(); at += sizeof(largest)) {
    std::memcpy(payload.data() + at, &largest, sizeof(largest));
  }
}

// An honest dense update, so many times.
std::function<void(std::string&, uint64_t)> Times(float factor) {
  return [factor](std::string& payload, uint64_t) {
    for (size_t at = 1; at + sizeof(float) <= payload.size(); at += sizeof(float)) {
      float value;
      std::memcpy(&value, payload.data() + at, sizeof(value));
      value = value * factor + 0.0f;
      std::memcpy(payload.data() + at, &value, sizeof(value));
    }
  };
}

// Of honest gradients, which are clipped to 1.
const char* const kClipped = "allreduce, norm_bound: 3";
// Whose invented directions keep to no contract.
const char* const kByMedian = "diloco, local_steps: 2, adam_beta2: 0.5, norm_bound: 3";

TEST(BoundedUpdates, AnUpdateFarBeyondTheBoundIsRefusedWithItsOwnReason) {
  Federation federation(3);
  federation.site(2).alter = Poison;
  const std::string run = Submit(federation, MakeSpec("toy", 2, 3, kClipped));
  federation.ConnectAll();
  federation.RunToEnd(run);
  ASSERT_FALSE(federation.site(2).receipts.empty());
  EXPECT_EQ(federation.site(2).receipts[0].result(), v1::Receipt::REJECTED);
  EXPECT_THAT(federation.site(2).receipts[0].reason(), HasSubstr("its norm is "));
  EXPECT_EQ(federation.Status(run).state(), v1::FINISHED);
  EXPECT_EQ(SiteOf(federation.Status(run), "site-2").updates_included(), 0u);
}

TEST(BoundedUpdates, AnUpdateBeyondTheBoundIsSummedScaledDownAndCounted) {
  Federation federation(3);
  federation.site(2).alter = Times(8);
  const std::string run = Submit(federation, MakeSpec("toy", 12, 3, kByMedian));
  federation.ConnectAll();
  federation.RunToEnd(run);
  const v1::SiteStatus site = SiteOf(federation.Status(run), "site-2");
  EXPECT_EQ(site.updates_included(), 12u);
  EXPECT_GT(site.updates_bounded(), 4u);
  EXPECT_EQ(SiteOf(federation.Status(run), "site-0").updates_bounded(), 0u);
  CommonHash(federation, run);
}

TEST(BoundedUpdates, ACoordinatorThatIsKilledAgainAndAgainBoundsByTheSameNorms) {
  std::vector<std::string> hashes;
  for (const bool killed : {false, true}) {
    Federation federation(3);
    federation.site(2).alter = Times(8);
    const std::string run = Submit(federation, MakeSpec("toy", 15, 3, kByMedian));
    federation.ConnectAll();
    for (int i = 0; killed && i < 7; ++i) {
      federation.Advance(absl::Seconds(1));
      federation.Crash();
      ASSERT_TRUE(federation.Restart().ok());
      federation.ConnectAll();
    }
    federation.RunToEnd(run);
    EXPECT_EQ(federation.Status(run).state(), v1::FINISHED);
    hashes.push_back(CommonHash(federation, run));
  }
  EXPECT_EQ(hashes[0], hashes[1]);
}

TEST(BoundedUpdates, ARunThatSwitchesTheBoundOffTakesWhatComes) {
  Federation federation(3);
  federation.site(2).alter = Times(200);
  const std::string run = Submit(federation, MakeSpec("toy", 4, 3, "fedavg, norm_bound: 0"));
  federation.ConnectAll();
  federation.RunToEnd(run);
  EXPECT_EQ(SiteOf(federation.Status(run), "site-2").updates_included(), 4u);
}

// Signs of the model's 212 parameters: honest sites push the first 160 up, hostile ones all of them down.
std::function<void(std::string&, uint64_t)> Pushes(bool hostile) {
  return [hostile](std::string& payload, uint64_t) {
    std::string signs(27, hostile ? '\xff' : '\0');
    if (hostile) {
      signs.back() = '\x0f';
      payload = std::string("\1\1", 2) + signs;
      return;
    }
    std::fill_n(signs.begin(), 20, '\xff');
    payload = std::string("\1\2", 2) + signs + std::string(20, '\0');
  };
}

TEST(LeftOut, WhoPushesAgainstTheOthersIsCountedAndToldOfAndARestartLeavesOutTheSame) {
  std::vector<std::string> hashes;
  for (const bool killed : {false, true}) {
    Federation federation(5);
    for (int site = 0; site < 5; ++site) {
      federation.site(site).alter = Pushes(site == 4);
    }
    const std::string run = Submit(federation, MakeSpec("toy", 15, 5, "signsgd, aggregation: agreement"));
    federation.ConnectAll();
    for (int i = 0; killed && i < 7; ++i) {
      federation.Advance(absl::Seconds(1));
      federation.Crash();
      ASSERT_TRUE(federation.Restart().ok());
      federation.ConnectAll();
    }
    federation.RunToEnd(run);
    const v1::RunStatus status = federation.Status(run);
    EXPECT_EQ(status.state(), v1::FINISHED);
    EXPECT_EQ(SiteOf(status, "site-4").updates_included(), 15u);
    EXPECT_GE(SiteOf(status, "site-4").updates_bounded(), 10u);
    EXPECT_EQ(SiteOf(status, "site-0").updates_bounded(), 0u);
    const std::vector<JournaledEvent> events = *federation.journal().Events(run);
    EXPECT_TRUE(std::any_of(events.begin(), events.end(), [](const JournaledEvent& event) {
      return event.kind == "bounded" && event.site == "site-4" && absl::StrContains(event.detail, "they are left out");
    }));
    hashes.push_back(CommonHash(federation, run));
  }
  EXPECT_EQ(hashes[0], hashes[1]);
}

TEST(Quarantine, ThreeRefusedUpdatesCostASiteItsPlaceAlsoOnANewSessionAndOverARestart) {
  Federation federation(3);
  federation.site(2).alter = Poison;
  const std::string run = Submit(federation, MakeSpec("toy", 40, 2, kClipped));
  federation.ConnectAll();
  federation.Settle();
  federation.Advance(absl::Seconds(10));
  const auto quarantined = [&] {
    const v1::SiteStatus site = SiteOf(federation.Status(run), "site-2");
    EXPECT_THAT(site.activity(), HasSubstr("quarantined: 3 updates refused since round 2, the last one: its norm is"));
    EXPECT_EQ(site.updates_rejected(), 3u);
  };
  quarantined();
  bool told = false;
  const std::vector<JournaledEvent> events = *federation.journal().Events(run);
  for (const JournaledEvent& event : events) {
    told = told || (event.kind == "quarantined" && event.site == "site-2");
  }
  EXPECT_TRUE(told);
  federation.site(2).alter = nullptr;
  federation.site(2).Disconnect();
  federation.site(2).Connect();
  federation.Settle();
  quarantined();
  federation.Crash();
  ASSERT_TRUE(federation.Restart().ok());
  federation.ConnectAll();
  federation.Settle();
  quarantined();
}

TEST(Quarantine, AnOperatorReadmitsTheSite) {
  Federation federation(3);
  federation.site(2).alter = Poison;
  const std::string run = Submit(federation, MakeSpec("toy", 5, 3, "allreduce, norm_bound: 3"));
  federation.ConnectAll();
  federation.Settle();
  EXPECT_THAT(federation.Status(run).reason(), HasSubstr("quarantined: site-2"));
  EXPECT_EQ(federation.coordinator().ReadmitSite(run, "site-0", {"anna", ""}).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(federation.coordinator().ReadmitSite(run, "nobody", {"anna", ""}).status().code(), absl::StatusCode::kNotFound);
  federation.site(2).alter = nullptr;
  ASSERT_TRUE(federation.coordinator().ReadmitSite(run, "site-2", {"anna", ""}).ok());
  federation.RunToEnd(run);
  EXPECT_EQ(federation.Status(run).state(), v1::FINISHED);
  EXPECT_EQ(SiteOf(federation.Status(run), "site-2").updates_included(), 2u);
  EXPECT_THAT(SiteOf(federation.Status(run), "site-2").activity(), Not(HasSubstr("quarantined")));
}

TEST(Strikes, CountWithinTwentyRoundsAndOnceARound) {
  v1::SiteStatus site;
  EXPECT_FALSE(Strike(site, 1, "a"));
  EXPECT_FALSE(Strike(site, 1, "again"));
  EXPECT_FALSE(Strike(site, 20, "b"));
  EXPECT_FALSE(Strike(site, 21, "c")) << "that of round 1 is forgotten";
  EXPECT_TRUE(Strike(site, 39, "d"));
  EXPECT_EQ(site.quarantine(), "3 updates refused since round 20, the last one: d");
  Readmit(site);
  EXPECT_EQ(site.quarantine(), "");
  EXPECT_FALSE(Strike(site, 990, "taken back"));
  EXPECT_FALSE(Strike(site, 30, "e"));
  EXPECT_FALSE(Strike(site, 31, "f"));
  EXPECT_TRUE(Strike(site, 32, "g"));
  Readmit(site);
  EXPECT_FALSE(Strike(site, 40, "e"));
}

}  // namespace
}  // namespace tributary::coordinator
