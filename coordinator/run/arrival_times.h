// How long after their round's start the answers of members came, and the deadline that follows from it.
#ifndef TRIBUTARY_COORDINATOR_RUN_ARRIVAL_TIMES_H_
#define TRIBUTARY_COORDINATOR_RUN_ARRIVAL_TIMES_H_

#include <deque>
#include <vector>

#include "absl/time/time.h"

namespace tributary::coordinator {

// The latest answers of one kind of round. A value; not thread-safe.
class ArrivalTimes {
 public:
  ArrivalTimes() = default;
  // As values() of an earlier one.
  explicit ArrivalTimes(const std::vector<absl::Duration>& values) : values_(values.begin(), values.end()) {}

  // An answer came so long after its round's start. Late answers are noted too: without them the deadline would only ever see arrivals
  // that it allowed, and could not grow.
  void Note(absl::Duration after_start);

  // How long a round may take: median + spread, within [floor, ceiling]. The ceiling while nothing is known.
  absl::Duration Deadline(absl::Duration floor, absl::Duration ceiling) const;

  // Oldest first.
  std::vector<absl::Duration> values() const { return {values_.begin(), values_.end()}; }

 private:
  std::deque<absl::Duration> values_;
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_RUN_ARRIVAL_TIMES_H_
