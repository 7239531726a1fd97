// A run with more rounds than it had.
#ifndef TRIBUTARY_COORDINATOR_RUN_EXTENDED_RUN_H_
#define TRIBUTARY_COORDINATOR_RUN_EXTENDED_RUN_H_

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "coordinator/journal/journal.h"
#include "coordinator/run/operator_act.h"

namespace tributary::coordinator {

// `committed`, if the run needs no round after it by its spec.stop_when (EarlyEnd, best_round.h), whatever has become of it since. Errors
// of the journal.
absl::StatusOr<std::optional<uint64_t>> EnoughAt(Journal& journal, const JournaledRun& run, uint64_t committed);

// The run with `rounds` in all; one that has finished is queued again. `enough_at`: as EnoughAt; spec.stop_when counts anew from there, and
// a run with rounds left then may have as many as before. The schedule of the learning rate
// goes on to cover the rounds that it covered, and says so: what the run has committed, and has open, is what a run of that specification
// would have. InvalidArgument: it has as many already, or more than a run may have. FailedPrecondition: it has failed, was stopped, or is
// being stopped.
absl::StatusOr<JournaledRun> Extended(const JournaledRun& run, uint64_t rounds, std::optional<uint64_t> enough_at, const OperatorAct& act);

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_RUN_EXTENDED_RUN_H_
