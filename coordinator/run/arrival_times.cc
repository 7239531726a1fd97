#include "coordinator/run/arrival_times.h"

#include <algorithm>
#include <cstddef>
#include <utility>

namespace tributary::coordinator {
namespace {

// Answers that the deadline looks back on.
constexpr size_t kKept = 256;
// Deadline = median + kSpread * max(MAD, median / 10): the median absolute deviation alone would be 0 for equally fast sites, and then the
// least hiccup would be late.
constexpr int kSpread = 6;

absl::Duration Median(std::vector<absl::Duration> values) {
  const auto middle = values.begin() + values.size() / 2;
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

void ArrivalTimes::Note(absl::Duration after_start) {
  values_.push_back(after_start);
  if (values_.size() > kKept) {
    values_.pop_front();
  }
}

absl::Duration ArrivalTimes::Deadline(absl::Duration floor, absl::Duration ceiling) const {
  if (values_.empty()) {
    return ceiling;
  }
  const absl::Duration median = Median(values());
  std::vector<absl::Duration> deviations;
  deviations.reserve(values_.size());
  for (const absl::Duration value : values_) {
    deviations.push_back(absl::AbsDuration(value - median));
  }
  const absl::Duration spread = std::max(Median(std::move(deviations)), median / 10);
  return std::clamp(median + kSpread * spread, floor, ceiling);
}

}  // namespace tributary::coordinator
