#include "proto/config/local_time.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "proto/durations.h"

namespace tributary {
namespace {

absl::Status Invalid(absl::string_view problem) {
  return absl::InvalidArgumentError(absl::StrCat("optimizer.local_time: ", problem));
}

}  // namespace

absl::Status CheckLocalTime(const v1::RunSpec& run) {
  const v1::OptimizerSpec& spec = run.optimizer();
  if (spec.local_steps() == 0 && !spec.has_local_time()) {
    return Invalid("is missing; with local_steps: auto it says how long a site takes local steps in a round: 30s");
  }
  if (!spec.has_local_time()) {
    return absl::OkStatus();
  }
  if (spec.local_steps() != 0) {
    return Invalid("is read with local_steps: auto alone; remove the key, or set that");
  }
  const absl::Duration time = DurationOf(spec.local_time());
  const absl::Duration deadline = DurationOf(run.participation().max_deadline());
  if (time >= deadline) {
    return Invalid(absl::StrCat(absl::FormatDuration(time), " leaves no time to send an update: participation.max_deadline is ",
                                absl::FormatDuration(deadline), "; lengthen that"));
  }
  return absl::OkStatus();
}

}  // namespace tributary
