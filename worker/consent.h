// What this site agrees to: worker.yaml's `consent` against a run that is offered.
#ifndef TRIBUTARY_WORKER_CONSENT_H_
#define TRIBUTARY_WORKER_CONSENT_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "tributary/v1/config.pb.h"
#include "tributary/v1/run.pb.h"

namespace tributary::worker {

// Whether `name` has the form of `pattern`, where each * stands for any characters, also none.
bool MatchesPattern(absl::string_view pattern, absl::string_view name);

// What the YAML reader cannot see. InvalidArgument: a model kind that does not exist, which would silently allow nothing.
absl::Status ValidateConsent(const v1::ConsentConfig& consent);

// What a run comes to.
struct RunSize {
  uint64_t parameters = 0;
  // Optimiser state at the replica, in multiples of the parameters.
  uint64_t slots = 0;
  uint32_t local_steps = 0;  // a round
  bool timed_steps = false;  // local_steps are the fewest: a site takes as many more as its time and consent allow
  // Whether an update has a value, or its sign, for every parameter; or for so many components that it tells nearly as much.
  bool sends_many_values = false;
  // Of the longest record of a commit.
  uint64_t commit_bytes = 0;
};

// InvalidArgument: the run is not valid.
absl::StatusOr<RunSize> SizeOf(const v1::RunSpec& spec);

// All but `min_samples`, which is for the data to meet (TrainingRun). OK: the site takes part. PermissionDenied, exit code kConsent: it
// does not; the message names the rule and both values, and is sent to the coordinator, so it says nothing of the data. `size`:
// SizeOf(spec).
absl::Status CheckConsent(const v1::ConsentConfig& consent, const v1::RunSpec& spec, const RunSize& size);

// Of one round that a coordinator starts. InvalidArgument: it asks for more than the consent allows, for fewer local steps than the run has
// (the update tells more then), or for what cannot be done; the message is for the coordinator too. With timed steps, `local_steps` is what
// an update is scaled to, and no bound on them.
absl::Status CheckRound(const v1::ConsentConfig& consent, const RunSize& size, uint32_t local_steps, float learning_rate);

// Both: the size of a run that the site takes part in. Errors as of the two; an invalid run "is not valid".
absl::StatusOr<RunSize> Agree(const v1::ConsentConfig& consent, const v1::RunSpec& spec);

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_CONSENT_H_
