#include "coordinator/run/arrival_times.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tributary::coordinator {
namespace {

constexpr absl::Duration kFloor = absl::Seconds(1);
constexpr absl::Duration kCeiling = absl::Seconds(60);

ArrivalTimes Of(const std::vector<int>& seconds) {
  ArrivalTimes times;
  for (const int value : seconds) {
    times.Note(absl::Seconds(value));
  }
  return times;
}

TEST(ArrivalTimes, WithoutAPastTheDeadlineIsTheCeiling) {
  EXPECT_EQ(ArrivalTimes().Deadline(kFloor, kCeiling), kCeiling);
}

TEST(ArrivalTimes, EquallyFastSitesAreLeftATenthOfTheMedianForHiccups) {
  EXPECT_EQ(Of({10, 10, 10}).Deadline(kFloor, kCeiling), absl::Seconds(16));
}

TEST(ArrivalTimes, TheSpreadOfArrivalsWidensTheDeadline) {
  EXPECT_EQ(Of({8, 10, 12, 5, 15}).Deadline(kFloor, kCeiling), absl::Seconds(22)) << "median 10, median absolute deviation 2";
}

TEST(ArrivalTimes, OneOutlierDoesNotMoveTheDeadline) {
  EXPECT_EQ(Of({10, 10, 10, 10, 5000}).Deadline(kFloor, kCeiling), absl::Seconds(16));
}

TEST(ArrivalTimes, TheDeadlineStaysBetweenFloorAndCeiling) {
  EXPECT_EQ(Of({0, 0}).Deadline(kFloor, kCeiling), kFloor);
  EXPECT_EQ(Of({5000}).Deadline(kFloor, kCeiling), kCeiling);
}

TEST(ArrivalTimes, OnlyTheLatestAnswersCount) {
  ArrivalTimes times = Of({50});
  for (int i = 0; i < 256; ++i) {
    times.Note(absl::Seconds(10));
  }
  EXPECT_EQ(times.values().size(), 256U);
  EXPECT_EQ(times.values().front(), absl::Seconds(10));
}

TEST(ArrivalTimes, GoOnFromWhatWasKept) {
  const ArrivalTimes times = Of({8, 10, 12, 5, 15});
  EXPECT_EQ(ArrivalTimes(times.values()).Deadline(kFloor, kCeiling), times.Deadline(kFloor, kCeiling));
}

}  // namespace
}  // namespace tributary::coordinator
