#include "worker/quiet_hours.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/time/civil_time.h"

namespace tributary::worker {
namespace {

using ::testing::HasSubstr;
using ::testing::Optional;

absl::TimeZone Berlin() {
  absl::TimeZone zone;
  EXPECT_TRUE(absl::LoadTimeZone("Europe/Berlin", &zone)) << "install tzdata";
  return zone;
}

std::optional<std::string> EndAt(const QuietHours& hours, int hour, int minute) {
  return hours.EndOf(absl::FromCivil(absl::CivilMinute(2026, 1, 15, hour, minute), Berlin()));
}

QuietHours Parse(const std::vector<std::string>& spans) {
  absl::StatusOr<QuietHours> hours = QuietHours::Parse(spans, Berlin());
  EXPECT_TRUE(hours.ok()) << hours.status();
  return *std::move(hours);
}

TEST(QuietHoursTest, ASpanHoldsItsBeginAndNotItsEnd) {
  const QuietHours hours = Parse({"08:00-18:30"});
  EXPECT_EQ(EndAt(hours, 7, 59), std::nullopt);
  EXPECT_THAT(EndAt(hours, 8, 0), Optional(std::string("18:30")));
  EXPECT_THAT(EndAt(hours, 18, 29), Optional(std::string("18:30")));
  EXPECT_EQ(EndAt(hours, 18, 30), std::nullopt);
}

TEST(QuietHoursTest, ASpanMayGoOverMidnight) {
  const QuietHours hours = Parse({"22:00-06:00"});
  EXPECT_EQ(EndAt(hours, 21, 59), std::nullopt);
  EXPECT_THAT(EndAt(hours, 22, 0), Optional(std::string("06:00")));
  EXPECT_THAT(EndAt(hours, 0, 0), Optional(std::string("06:00")));
  EXPECT_THAT(EndAt(hours, 5, 59), Optional(std::string("06:00")));
  EXPECT_EQ(EndAt(hours, 6, 0), std::nullopt);
}

TEST(QuietHoursTest, SpansThatMeetAreOne) {
  const QuietHours hours = Parse({"18:00-24:00", "00:00-04:00", "03:00-05:30", "12:00-13:00"});
  EXPECT_THAT(EndAt(hours, 19, 0), Optional(std::string("05:30")));
  EXPECT_THAT(EndAt(hours, 3, 30), Optional(std::string("05:30")));
  EXPECT_THAT(EndAt(hours, 12, 0), Optional(std::string("13:00")));
  EXPECT_EQ(EndAt(hours, 13, 0), std::nullopt);
}

TEST(QuietHoursTest, WithoutSpansNoHourIsQuiet) {
  EXPECT_EQ(EndAt(Parse({}), 12, 0), std::nullopt);
}

TEST(QuietHoursTest, TheClockOnTheWallCountsWhenSummerTimeComesAndGoes) {
  const QuietHours hours = Parse({"22:00-02:30"});
  // 29 March 2026: 02:00 becomes 03:00, so half an hour of the night is missing.
  const absl::Time spring = absl::FromCivil(absl::CivilMinute(2026, 3, 29, 1, 59), Berlin());
  EXPECT_THAT(hours.EndOf(spring), Optional(std::string("02:30")));
  EXPECT_EQ(hours.EndOf(spring + absl::Minutes(1)), std::nullopt);
  // 25 October 2026: 03:00 becomes 02:00, so the half hour before 02:30 comes twice.
  const absl::Time autumn = absl::FromCivil(absl::CivilMinute(2026, 10, 25, 1, 59), Berlin());
  EXPECT_THAT(hours.EndOf(autumn + absl::Minutes(30)), Optional(std::string("02:30")));
  EXPECT_EQ(hours.EndOf(autumn + absl::Minutes(31)), std::nullopt);
  EXPECT_THAT(hours.EndOf(autumn + absl::Minutes(61)), Optional(std::string("02:30")));
  EXPECT_EQ(hours.EndOf(autumn + absl::Minutes(91)), std::nullopt);
}

TEST(QuietHoursTest, WhatIsNoSpanIsRefusedWithItsText) {
  for (const char* text : {"", "22:00", "22-06", "22:00-6:00", "25:00-06:00", "22:60-06:00", "24:00-06:00", "22:00-06:00-07:00",
                           "aa:bb-cc:dd", "08:00-08:00", "22:00 - 06:00", "00:00-24:01"}) {
    const absl::Status status = QuietHours::Parse({"01:00-02:00", text}, Berlin()).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(status.message()), HasSubstr(std::string("'") + text + "'"));
  }
}

TEST(QuietHoursTest, AWorkerThatNeverWorksIsRefused) {
  for (const std::vector<std::string>& spans : {std::vector<std::string>{"00:00-24:00"}, {"06:00-18:00", "18:00-06:00"}}) {
    EXPECT_THAT(std::string(QuietHours::Parse(spans, Berlin()).status().message()), HasSubstr("cover the whole day"));
  }
}

}  // namespace
}  // namespace tributary::worker
