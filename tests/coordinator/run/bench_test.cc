#include "coordinator/run/bench.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tributary::coordinator {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(Bench, ASiteThatMissesThreeRoundsInARowIsBenchedForOne) {
  Bench bench;
  EXPECT_THAT(bench.RoundClosed(1, {"a"}, {"b"}), IsEmpty());
  EXPECT_THAT(bench.RoundClosed(2, {"a"}, {"b"}), IsEmpty());
  EXPECT_EQ(bench.Find("a", 3), nullptr);
  const std::vector<Bench::Benched> benched = bench.RoundClosed(3, {"a"}, {"b"});
  ASSERT_EQ(benched.size(), 1u);
  EXPECT_EQ(benched[0].site, "a");
  EXPECT_EQ(benched[0].misses, 3);
  EXPECT_EQ(benched[0].until, 5u);
  EXPECT_NE(bench.Find("a", 4), nullptr);
  EXPECT_EQ(bench.Find("a", 5), nullptr) << "then it is tried again";
  EXPECT_EQ(bench.Find("b", 4), nullptr);
}

TEST(Bench, AnAnswerInBetweenStartsTheCountAnew) {
  Bench bench;
  for (uint64_t round = 1; round <= 30; ++round) {
    EXPECT_THAT(round % 3 == 0 ? bench.RoundClosed(round, {}, {"a"}) : bench.RoundClosed(round, {"a"}, {}), IsEmpty());
  }
}

TEST(Bench, EachTrialThatFailsDoublesTheTimeUpToABound) {
  Bench bench;
  bench.RoundClosed(1, {"a"}, {});
  bench.RoundClosed(2, {"a"}, {});
  uint64_t round = 3;
  for (const uint64_t rounds : {1, 2, 4, 8, 16, 32, 32, 32}) {
    const std::vector<Bench::Benched> benched = bench.RoundClosed(round, {"a"}, {});
    ASSERT_EQ(benched.size(), 1u) << "round " << round;
    EXPECT_EQ(benched[0].until, round + 1 + rounds);
    round = benched[0].until;
  }
  EXPECT_THAT(bench.RoundClosed(round, {}, {"a"}), IsEmpty());
  bench.RoundClosed(round + 1, {"a"}, {});
  bench.RoundClosed(round + 2, {"a"}, {});
  EXPECT_EQ(bench.RoundClosed(round + 3, {"a"}, {})[0].until, round + 5) << "an answer makes good for all of it";
}

TEST(Bench, ThoseWithoutWhomTheRunWouldWaitPlayOnThoseWhoseTimeIsUpFirst) {
  Bench bench;
  for (uint64_t round = 1; round <= 3; ++round) {
    bench.RoundClosed(round, {"a", "c"}, {"b"});
  }
  bench.RoundClosed(5, {"a"}, {"b"});
  bench.RoundClosed(6, {"c"}, {"b"});
  ASSERT_EQ(bench.Find("a", 7)->until, 8u);
  ASSERT_EQ(bench.Find("c", 7)->until, 9u);
  EXPECT_THAT(bench.Allow({"a", "b", "c"}, 7, 1), ElementsAre("b"));
  EXPECT_THAT(bench.Allow({"a", "b", "c"}, 7, 2), ElementsAre("a", "b"));
  EXPECT_THAT(bench.Allow({"a", "b", "c"}, 7, 3), ElementsAre("a", "b", "c"));
  EXPECT_THAT(bench.Allow({"a", "b", "c"}, 8, 1), ElementsAre("a", "b")) << "a's time is up";
}

TEST(Bench, WhoPlaysOnThoughBenchedAndMissesAgainIsNotToldOfAgain) {
  Bench bench;
  for (uint64_t round = 1; round <= 3; ++round) {
    bench.RoundClosed(round, {"a"}, {});
  }
  EXPECT_THAT(bench.RoundClosed(4, {"a"}, {}), IsEmpty());
  EXPECT_EQ(bench.RoundClosed(5, {"a"}, {}).size(), 1u);
}

}  // namespace
}  // namespace tributary::coordinator
