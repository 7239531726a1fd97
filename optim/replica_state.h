// The model's state at a round: what Apply (optim/apply.h) moves, StateHash (optim/state_hash.h) compares, and a snapshot keeps.
#ifndef TRIBUTARY_OPTIM_REPLICA_STATE_H_
#define TRIBUTARY_OPTIM_REPLICA_STATE_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "optim/layout.h"
#include "optim/options.h"

namespace tributary::optim {

// theta and the optimiser state that a mode keeps at the replica (AdamW moments, outer momentum) after `round` commits.
struct ReplicaState {
  uint64_t round = 0;
  std::vector<float> theta;               // [layout.size()]
  std::vector<std::vector<float>> slots;  // each [layout.size()]; how many, the mode says (SlotCount)
};

// Slots that Apply of this mode keeps, as the table of modes says: allreduce 2 (AdamW m, v), diloco 1 (momentum), others 0.
int SlotCount(Mode mode);

// Round 0 with zeroed slots. InvalidArgument: theta is not [layout.size()].
absl::StatusOr<ReplicaState> InitialState(const OptimizerOptions& options, const Layout& layout, std::vector<float> theta);

}  // namespace tributary::optim

#endif  // TRIBUTARY_OPTIM_REPLICA_STATE_H_
