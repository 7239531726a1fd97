#include "common/clock.h"

#include <gtest/gtest.h>

namespace tributary {
namespace {

TEST(ClockTest, ASimulatedClockMovesOnlyWhenTold) {
  SimulatedClock clock(absl::FromUnixSeconds(100));
  EXPECT_EQ(clock.Now(), absl::FromUnixSeconds(100));
  clock.Advance(absl::Seconds(5));
  EXPECT_EQ(clock.Now(), absl::FromUnixSeconds(105));
  EXPECT_EQ(clock.WallNow(), clock.Now());
}

TEST(ClockTest, TheRealClockMovesForwards) {
  const absl::Time first = Clock::Real().Now();
  absl::Time second = first;
  for (int i = 0; i < 1'000'000 && second == first; ++i) {
    second = Clock::Real().Now();
  }
  EXPECT_GT(second, first);
}

}  // namespace
}  // namespace tributary
