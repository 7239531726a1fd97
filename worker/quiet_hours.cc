#include "worker/quiet_hours.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/time/civil_time.h"

namespace tributary::worker {
namespace {

constexpr int kHour = 60;
constexpr int kDay = 24 * kHour;

// "06:30" as a minute of the day, at most 24:00; absent: not a time.
std::optional<int> ParseMinute(absl::string_view text) {
  const bool shaped = text.size() == 5 && text[2] == ':' && absl::ascii_isdigit(text[0]) && absl::ascii_isdigit(text[1]) &&
                      absl::ascii_isdigit(text[3]) && absl::ascii_isdigit(text[4]);
  if (!shaped) {
    return std::nullopt;
  }
  const int hours = (text[0] - '0') * 10 + (text[1] - '0');
  const int minutes = (text[3] - '0') * 10 + (text[4] - '0');
  const int minute = hours * kHour + minutes;
  return minutes < kHour && minute <= kDay ? std::make_optional(minute) : std::nullopt;
}

}  // namespace

absl::StatusOr<QuietHours> QuietHours::Parse(const std::vector<std::string>& spans, absl::TimeZone zone) {
  QuietHours hours;
  hours.zone_ = zone;
  for (const std::string& text : spans) {
    const std::vector<absl::string_view> ends = absl::StrSplit(text, '-');
    const std::optional<int> begin = ends.size() == 2 ? ParseMinute(ends[0]) : std::nullopt;
    const std::optional<int> end = ends.size() == 2 ? ParseMinute(ends[1]) : std::nullopt;
    if (!begin.has_value() || !end.has_value() || *begin == kDay) {
      return absl::InvalidArgumentError(absl::StrCat("quiet_hours: '", text, "' is not a range of times, such as 22:00-06:00"));
    }
    if (*begin == *end) {
      return absl::InvalidArgumentError(absl::StrCat("quiet_hours: '", text, "' ends when it begins; change one of the two times"));
    }
    hours.spans_.push_back({*begin, *end > *begin ? *end : *end + kDay});
  }
  for (int minute = 0; minute < kDay; ++minute) {
    if (hours.Left(minute) == 0) {
      return hours;
    }
  }
  return absl::InvalidArgumentError("quiet_hours: together they cover the whole day; shorten one of them");
}

int QuietHours::Left(int minute) const {
  int left = 0;
  for (const Span& span : spans_) {
    const int since = (minute - span.begin + kDay) % kDay;
    left = std::max(left, span.end - span.begin - since);
  }
  return left;
}

std::optional<std::string> QuietHours::EndOf(absl::Time wall) const {
  const absl::CivilMinute civil = absl::ToCivilMinute(wall, zone_);
  int minute = civil.hour() * kHour + civil.minute();
  if (Left(minute) == 0) {
    return std::nullopt;
  }
  // Spans that meet are one. It ends, for some minute of the day is in none.
  while (const int left = Left(minute)) {
    minute = (minute + left) % kDay;
  }
  return absl::StrFormat("%02d:%02d", minute / kHour, minute % kHour);
}

}  // namespace tributary::worker
