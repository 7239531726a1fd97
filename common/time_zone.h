// The time zone of this machine. absl::LocalTimeZone() takes UTC for one that it cannot load, and does not say so.
#ifndef TRIBUTARY_COMMON_TIME_ZONE_H_
#define TRIBUTARY_COMMON_TIME_ZONE_H_

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace tributary {

// `tz`: value of the environment's TZ, absent if unset. Like the C library, takes the zone that it names, UTC if it is empty, and that of
// the file `localtime` without it.
// InvalidArgument: a zone that cannot be loaded, also a rule such as CET-1CEST; the message says what to do.
absl::StatusOr<absl::TimeZone> LoadMachineTimeZone(const std::optional<std::string>& tz, const std::string& localtime = "/etc/localtime");

// "Europe/Berlin (CET, UTC+01:00), where it is 14:03".
std::string DescribeTimeZone(absl::TimeZone zone, absl::Time now);

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_TIME_ZONE_H_
