// Hours of the day in which a worker takes part in nothing: `quiet_hours` of worker.yaml.
#ifndef TRIBUTARY_WORKER_QUIET_HOURS_H_
#define TRIBUTARY_WORKER_QUIET_HOURS_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace tributary::worker {

// By the clock on the wall: a change to or from summer time shortens or lengthens what it falls into. Immutable.
class QuietHours {
 public:
  // Each of `spans` is "HH:MM-HH:MM", from 00:00 to 24:00; one that ends before it begins goes over midnight.
  // InvalidArgument: anything else, or no minute of the day is left.
  static absl::StatusOr<QuietHours> Parse(const std::vector<std::string>& spans, absl::TimeZone zone);

  // When the quiet hours that `wall` (calendar time) falls into are over, as "HH:MM" in the zone; absent: it falls into none.
  std::optional<std::string> EndOf(absl::Time wall) const;

 private:
  // Minutes of the day; `end` may be up to a day later than `begin`, and is not part of it.
  struct Span {
    int begin = 0;
    int end = 0;
  };
  // Of the spans that hold this minute of the day, the end that is farthest away, in minutes from there.
  int Left(int minute) const;

  absl::TimeZone zone_;
  std::vector<Span> spans_;
};

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_QUIET_HOURS_H_
