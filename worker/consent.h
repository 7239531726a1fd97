// What this site agrees to: worker.yaml's `consent` against a run that is offered.
#ifndef TRIBUTARY_WORKER_CONSENT_H_
#define TRIBUTARY_WORKER_CONSENT_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "tributary/v1/config.pb.h"
#include "tributary/v1/run.pb.h"

namespace tributary::worker {

// Whether `name` has the form of `pattern`, where each * stands for any characters, also none.
bool MatchesPattern(absl::string_view pattern, absl::string_view name);

// What the YAML reader cannot see. InvalidArgument: a model kind that does not exist, which would silently allow nothing.
absl::Status ValidateConsent(const v1::ConsentConfig& consent);

// OK: the site takes part. PermissionDenied, exit code kConsent: it does not; the message names the rule and both values, and is sent to
// the coordinator, so it says nothing of the data. `parameters` and `local_steps`: what `spec` comes to, size of the model and steps a
// round.
absl::Status CheckConsent(const v1::ConsentConfig& consent, const v1::RunSpec& spec, uint64_t parameters, uint32_t local_steps);

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_CONSENT_H_
