// The model's state at a round, and the one function that moves it: Apply(state[r-1], commit[r]).
//
// Every replica (coordinator, every worker, on any processor and any number of threads) reaches the same bits: coefficients are
// integers, their inverse DCT is fixed point, and the step on fp32 parameters is single IEEE operations in a fixed order.
#ifndef TRIBUTARY_OPTIM_REPLICA_H_
#define TRIBUTARY_OPTIM_REPLICA_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "optim/commit.h"
#include "optim/layout.h"
#include "optim/options.h"

namespace tributary::optim {

// theta and the optimiser state that a mode keeps at the replica (AdamW moments, outer momentum) after `round` commits.
struct ReplicaState {
  uint64_t round = 0;
  std::vector<float> theta;               // [layout.size()]
  std::vector<std::vector<float>> slots;  // each [layout.size()]; how many, the mode says (SlotCount)
};

// Slots that Apply of this mode keeps: allreduce 2 (AdamW m, v), diloco 1 (momentum), others 0.
int SlotCount(Mode mode);

// Round 0 with zeroed slots. InvalidArgument: theta is not [layout.size()].
absl::StatusOr<ReplicaState> InitialState(const OptimizerOptions& options, const Layout& layout, std::vector<float> theta);

// Moves `state` from round commit.round-1 to commit.round.
// FailedPrecondition: state.round + 1 != commit.round. InvalidArgument: the payload is not canonical for this layout and mode.
// On an error the state is unchanged. `threads` >= 1 share the work; the result does not depend on it.
absl::Status Apply(const OptimizerOptions& options, const Layout& layout, const Commit& commit, ReplicaState& state, int threads = 1);

// SHA-256 over layout hash, round, and the hashes of theta and slots by block. Equal states, and only they, have equal hashes.
// Theta and slots must have the layout's size. `threads` >= 1 share the work, large blocks too.
Digest StateHash(const Layout& layout, const ReplicaState& state, int threads = 1);

// Hashes of single blocks: theta's by number, then each slot's.
using BlockHashes = std::vector<Digest>;
// The same hash for one who follows a state from commit to commit: `held` is empty, or what the last call left, and then only blocks that
// Apply can move are hashed again (frozen ones are not). Empty it where the state comes from elsewhere than Apply.
Digest StateHash(const Layout& layout, const ReplicaState& state, int threads, BlockHashes& held);

}  // namespace tributary::optim

#endif  // TRIBUTARY_OPTIM_REPLICA_H_
