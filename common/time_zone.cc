#include "common/time_zone.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace tributary {

absl::StatusOr<absl::TimeZone> LoadMachineTimeZone(const std::optional<std::string>& tz, const std::string& localtime) {
  if (tz.has_value() && tz->empty()) {
    return absl::UTCTimeZone();
  }
  const std::string name = tz.has_value() ? std::string(absl::StripPrefix(*tz, ":")) : localtime;
  absl::TimeZone zone;
  if (absl::LoadTimeZone(name, &zone)) {
    return zone;
  }
  return absl::InvalidArgumentError(
      tz.has_value() ? absl::StrCat("cannot load the time zone TZ=", *tz,
                                    "; install tzdata if it is missing, and set TZ to a name such as Europe/Berlin ",
                                    "or UTC (a rule such as CET-1CEST is not supported)")
                     : absl::StrCat("cannot load this machine's time zone from ", localtime,
                                    "; install tzdata, and set the zone there or in the environment, such as TZ=Europe/Berlin or TZ=UTC"));
}

std::string DescribeTimeZone(absl::TimeZone zone, absl::Time now) {
  return absl::StrCat(zone.name(), absl::FormatTime(" (%Z, UTC%Ez), where it is %H:%M", now, zone));
}

}  // namespace tributary
