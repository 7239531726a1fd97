// Runs that leave the number of local steps to their sites (`local_steps: auto`): to how many steps the updates of a round are scaled.
//
// FedNova (Wang et al., arXiv 2007.07481) divides what a site's steps have changed by their number, and multiplies the mean by one number
// for all, tau_eff. Here that is the median of the steps that sites took in an earlier round, and a site multiplies by it itself, so that
// sums, bounds and commits know nothing of it. A median, because a mean of what sites say of themselves is whatever one of them likes.
// Everything follows from the journaled records of rounds, so a restart changes nothing.
#ifndef TRIBUTARY_COORDINATOR_RUN_TIMED_STEPS_H_
#define TRIBUTARY_COORDINATOR_RUN_TIMED_STEPS_H_

#include <cstdint>
#include <map>
#include <string>

#include "coordinator/run/run_log.h"
#include "optim/options.h"
#include "tributary/v1/session.pb.h"

namespace tributary::coordinator {

// The round whose sites say to how many steps updates of `round` are scaled: the last; in a pipelined run the one before, because sites
// compute `round` while that one is open. 0: none does, for it is too early, or sites take as many steps as the run says.
uint64_t ReferenceRound(const RunModel& model, uint64_t round);

// `steps`: local_steps of the record of ReferenceRound; not read where that is 0.
optim::RoundParameters ParametersOf(const RunModel& model, uint64_t round, uint32_t steps);

// What the record of a round says of its local steps: of timed ones the median of what its sites report (of an even number the upper one,
// because of two sites the faster one's steps should not be shrunk), without reports that cannot be: below kLeastTimedSteps or above
// kMaxLocalSteps. Of others, and where nobody reports, those of `parameters`.
uint32_t StepsTaken(const RunModel& model, const optim::RoundParameters& parameters,
                    const std::map<std::string, v1::UpdateReport>& reports);

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_RUN_TIMED_STEPS_H_
