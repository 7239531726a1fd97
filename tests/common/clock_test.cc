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

TEST(ClockTest, TheRealClockDoesNotGoBack) {
  const absl::Time first = Clock::Real().Now();
  EXPECT_GE(Clock::Real().Now(), first);
}

}  // namespace
}  // namespace tributary
