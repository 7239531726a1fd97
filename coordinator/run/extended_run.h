// A run with more rounds than it had.
#ifndef TRIBUTARY_COORDINATOR_RUN_EXTENDED_RUN_H_
#define TRIBUTARY_COORDINATOR_RUN_EXTENDED_RUN_H_

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "coordinator/journal/journal.h"
#include "coordinator/run/operator_act.h"

namespace tributary::coordinator {

// The last round of a run that has finished before all that it had; nothing: it has not.
std::optional<uint64_t> EndedEarlyAt(const JournaledRun& run, uint64_t committed);

// The run with `rounds` in all; one that has finished is queued again. `ended_early_at`: the last round of one that has ended before all
// that it had, or is about to; it may have as many as before, and spec.stop_when counts anew from there. The schedule of the learning rate
// goes on to cover the rounds that it covered, and says so: what the run has committed, and has open, is what a run of that specification
// would have. InvalidArgument: it has as many already, or more than a run may have. FailedPrecondition: it has failed, was stopped, or is
// being stopped.
absl::StatusOr<JournaledRun> Extended(const JournaledRun& run, uint64_t rounds, std::optional<uint64_t> ended_early_at,
                                      const OperatorAct& act);

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_RUN_EXTENDED_RUN_H_
