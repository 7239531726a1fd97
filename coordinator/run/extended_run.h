// A run with more rounds than it had.
#ifndef TRIBUTARY_COORDINATOR_RUN_EXTENDED_RUN_H_
#define TRIBUTARY_COORDINATOR_RUN_EXTENDED_RUN_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "coordinator/journal/journal.h"
#include "coordinator/run/operator_act.h"

namespace tributary::coordinator {

// The run with `rounds` in all; one that has finished is queued again. The schedule of the learning rate goes on to cover the rounds that
// it covered, and says so: what the run has committed, and has open, is what a run of that specification would have. InvalidArgument: it
// has as many already, or more than a run may have. FailedPrecondition: it has failed, was stopped, or is being stopped.
absl::StatusOr<JournaledRun> Extended(const JournaledRun& run, uint64_t rounds, const OperatorAct& act);

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_RUN_EXTENDED_RUN_H_
