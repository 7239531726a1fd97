#include "coordinator/run/round_policy.h"

#include <algorithm>

#include "proto/durations.h"

namespace tributary::coordinator {

RoundPolicy RoundPolicyOf(const v1::RunSpec& run) {
  const v1::ParticipationSpec& participation = run.participation();
  RoundPolicy policy;
  policy.rounds = run.rounds();
  policy.min_workers = participation.min_workers();
  policy.max_workers = participation.max_workers();
  policy.quorum = participation.quorum();
  policy.max_deadline = DurationOf(participation.max_deadline());
  // Whose local steps are timed needs that time, whatever came before.
  policy.min_deadline =
      std::min(policy.max_deadline, std::max(DurationOf(participation.min_deadline()), DurationOf(run.optimizer().local_time())));
  policy.wait_timeout = DurationOf(participation.wait_timeout());
  policy.evaluate_every = std::max<uint64_t>(1, run.evaluation().every());
  policy.pipeline = run.pipeline() != 0;
  return policy;
}

}  // namespace tributary::coordinator
