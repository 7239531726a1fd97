// What a run asks of its rounds.
#ifndef TRIBUTARY_COORDINATOR_RUN_ROUND_POLICY_H_
#define TRIBUTARY_COORDINATOR_RUN_ROUND_POLICY_H_

#include <cstdint>
#include <optional>

#include "absl/time/time.h"
#include "tributary/v1/run.pb.h"

namespace tributary::coordinator {

// v1.ParticipationSpec says what each field means, its range and default.
struct RoundPolicy {
  uint64_t rounds = 0;
  uint32_t min_workers = 0;
  uint32_t max_workers = 0;
  double quorum = 0;
  absl::Duration min_deadline;
  absl::Duration max_deadline;
  absl::Duration wait_timeout;
  // Round r asks for the validation loss of state[r-1] where r-1 is a multiple of this; at least 1.
  uint64_t evaluate_every = 1;
  // Updates of round r are computed from state[r-2] (v1.RunSpec.pipeline).
  bool pipeline = false;
  // How long another protocol has between collecting and committing a round, with the members whose updates are in: the unmasking of a
  // secure aggregation, say. Nullopt: there is none.
  std::optional<absl::Duration> exchange_deadline = std::nullopt;
};

RoundPolicy RoundPolicyOf(const v1::RunSpec& run);

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_RUN_ROUND_POLICY_H_
