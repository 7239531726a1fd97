#include "coordinator/run/membership.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tributary::coordinator {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const absl::Time kStart = absl::FromUnixSeconds(1000);
constexpr absl::Duration kLease = absl::Seconds(30);

TEST(Membership, AMessageRenewsTheLease) {
  Membership membership(kLease);
  membership.Connected("berlin", kStart);
  membership.Heard("berlin", kStart + absl::Seconds(20));
  EXPECT_EQ(membership.next_expiry(), kStart + absl::Seconds(50));
  EXPECT_THAT(membership.Expire(kStart + absl::Seconds(49)), IsEmpty());
  EXPECT_THAT(membership.Expire(kStart + absl::Seconds(50)), ElementsAre("berlin"));
}

TEST(Membership, ASiteWhoseStreamBrokeMayStillAnswerUntilItsLeaseEnds) {
  Membership membership(kLease);
  membership.Connected("berlin", kStart);
  membership.Dropped("berlin");
  EXPECT_TRUE(membership.CanAnswer("berlin"));
  EXPECT_THAT(membership.In(Presence::kAway), ElementsAre("berlin"));
  membership.Expire(kStart + kLease);
  EXPECT_FALSE(membership.CanAnswer("berlin"));
}

TEST(Membership, ASiteThatLeftIsNotWaitedForEvenBeforeItsStreamEnds) {
  Membership membership(kLease);
  membership.Connected("berlin", kStart);
  membership.Left("berlin", "maintenance");
  EXPECT_FALSE(membership.CanAnswer("berlin"));
  membership.Dropped("berlin");
  EXPECT_FALSE(membership.CanAnswer("berlin"));
}

TEST(Membership, ARefusalIsRememberedAfterTheSessionEnded) {
  Membership membership(kLease);
  membership.Connected("paris", kStart);
  membership.Set("paris", Presence::kRefused, "runs: bible-* only");
  membership.Dropped("paris");
  EXPECT_THAT(membership.Describe(), HasSubstr("refused: paris (runs: bible-* only)"));
  membership.Connected("paris", kStart);
  EXPECT_THAT(membership.Describe(), HasSubstr("connected: paris"));
}

TEST(Membership, ExpectedSitesHoldALeaseWithoutASession) {
  Membership membership(kLease);
  membership.Expect("oslo", kStart);
  EXPECT_TRUE(membership.CanAnswer("oslo"));
  membership.Set("oslo", Presence::kReady);
  EXPECT_THAT(membership.In(Presence::kReady), IsEmpty()) << "no session: cannot be ready";
}

TEST(Membership, AnotherRunBeginsWithItsConnectedSites) {
  Membership membership(kLease);
  membership.Connected("oslo", kStart);
  membership.Set("oslo", Presence::kRefused, "no");
  membership.Connected("rome", kStart);
  membership.Set("rome", Presence::kReady);
  Membership of_next(kLease);
  membership.Move([](const std::string& site) { return site == "oslo"; }, of_next);
  EXPECT_THAT(of_next.In(Presence::kConnected), ElementsAre("oslo"));
  EXPECT_TRUE(of_next.CanAnswer("oslo"));
  EXPECT_EQ(of_next.next_expiry(), kStart + kLease);
  EXPECT_FALSE(membership.sites().contains("oslo"));
  EXPECT_THAT(membership.In(Presence::kReady), ElementsAre("rome"));
}

TEST(Membership, DescribesNobody) {
  EXPECT_EQ(Membership(kLease).Describe(), "no site is connected");
}

}  // namespace
}  // namespace tributary::coordinator
