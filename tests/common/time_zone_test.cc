#include "common/time_zone.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/civil_time.h"

namespace tributary {
namespace {

using ::testing::HasSubstr;

TEST(TimeZoneTest, TzNamesTheZone) {
  for (const char* name : {"Europe/Berlin", ":Europe/Berlin"}) {
    const absl::StatusOr<absl::TimeZone> zone = LoadMachineTimeZone(name);
    ASSERT_TRUE(zone.ok()) << zone.status() << "; install tzdata";
    EXPECT_EQ(zone->name(), "Europe/Berlin");
  }
  for (const char* name : {"", "UTC", "UTC0"}) {
    EXPECT_EQ(LoadMachineTimeZone(name).value(), absl::UTCTimeZone()) << name;
  }
}

TEST(TimeZoneTest, AZoneThatCannotBeLoadedIsNotTakenForUtc) {
  for (const char* name : {"Europe/Berln", "CET-1CEST,M3.5.0,M10.5.0/3", "<+03>-3", "/nowhere/zone", ":"}) {
    const absl::Status status = LoadMachineTimeZone(name).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_THAT(std::string(status.message()), HasSubstr(absl::StrCat("cannot load the time zone TZ=", name, "; install tzdata")));
  }
}

TEST(TimeZoneTest, WithoutTzTheZoneIsTheMachines) {
  const absl::Status status = LoadMachineTimeZone(std::nullopt, "/nowhere/localtime").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("from /nowhere/localtime; install tzdata, and set the zone"));
}

TEST(TimeZoneTest, IsDescribedByItsNameAndItsClock) {
  const absl::TimeZone berlin = LoadMachineTimeZone("Europe/Berlin").value();
  EXPECT_EQ(DescribeTimeZone(berlin, absl::FromCivil(absl::CivilMinute(2026, 1, 15, 14, 3), berlin)),
            "Europe/Berlin (CET, UTC+01:00), where it is 14:03");
}

}  // namespace
}  // namespace tributary
