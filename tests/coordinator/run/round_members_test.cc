#include "coordinator/run/round_members.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tributary::coordinator {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Answer = RoundMembers::Member::Answer;

TEST(RoundMembers, AnAcceptedUpdateStands) {
  RoundMembers members({"a"});
  members.Accept("a", "digest");
  members.Skip("a", "no data");
  members.Refuse("a", "truncated");
  EXPECT_TRUE(members.HasAccepted("a"));
  EXPECT_EQ(members.WhyDeclined(), "");
}

TEST(RoundMembers, AnUpdateAfterARefusalCounts) {
  RoundMembers members({"a"});
  members.Refuse("a", "truncated");
  members.Accept("a", "digest");
  EXPECT_TRUE(members.HasAccepted("a"));
  EXPECT_EQ(members.WhyDeclined(), "") << "what was wrong before is of no interest any more";
}

TEST(RoundMembers, AnswersOfOthersChangeNothing) {
  RoundMembers members({"a"});
  members.Accept("b", "digest");
  members.Skip("c", "no data");
  EXPECT_EQ(members.size(), 1U);
  EXPECT_THAT(members.Sites(Answer::kAccepted), IsEmpty());
}

TEST(RoundMembers, CountsWhoIsAwaitedAndWhoIsGone) {
  Membership membership(absl::Seconds(30));
  membership.Connected("b", absl::UnixEpoch());
  RoundMembers members({"a", "b", "c"});
  members.Accept("a", "digest");
  const RoundMembers::Tally tally = members.Count(membership);
  EXPECT_EQ(tally.accepted, 1U);
  EXPECT_THAT(tally.awaited, ElementsAre("b"));
  EXPECT_THAT(tally.gone, ElementsAre("c"));
}

TEST(RoundMembers, ReplacesThoseWhoHaveNotAnswered) {
  RoundMembers members({"a", "b", "c"});
  members.Accept("a", "digest");
  members.Skip("c", "no data");
  const RoundMembers replaced = members.WithReplacements({"d", "e", "f"}, 4);
  EXPECT_THAT(replaced.Sites(), ElementsAre("a", "c", "d", "e"));
  EXPECT_TRUE(replaced.HasAccepted("a"));
  EXPECT_THAT(replaced.Sites(Answer::kNone), ElementsAre("d", "e"));
}

}  // namespace
}  // namespace tributary::coordinator
