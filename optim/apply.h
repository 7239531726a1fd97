// state[r] = Apply(state[r-1], commit[r]): the one function that moves a replica.
//
// Every replica (coordinator, every worker, on any processor and any number of threads) reaches the same bits: coefficients are
// integers, their inverse DCT is fixed point, and the step on fp32 parameters is single IEEE operations in a fixed order.
#ifndef TRIBUTARY_OPTIM_APPLY_H_
#define TRIBUTARY_OPTIM_APPLY_H_

#include "absl/status/status.h"
#include "common/stored_bytes.h"
#include "optim/commit.h"
#include "optim/layout.h"
#include "optim/options.h"
#include "optim/replica_state.h"

namespace tributary::optim {

// Moves `state` from round commit.round-1 to commit.round.
// FailedPrecondition: state.round + 1 != commit.round. InvalidArgument: the payload is not canonical for this layout and mode.
// On an error the state is unchanged. `threads` >= 1 share the work; the result does not depend on it.
absl::Status Apply(const OptimizerOptions& options, const Layout& layout, const Commit& commit, ReplicaState& state, int threads = 1);

// The same of a commit's record. The value modes read it in slices, twice: what is found wrong with the payload, or cannot be read at
// first, leaves the state unchanged; if reading fails only the second time, the state is half moved, and useless. Other modes
// hold the payload in memory. InvalidArgument: DecodeCommitHead's, too. Errors of the storage.
absl::Status ApplyRecord(const OptimizerOptions& options, const Layout& layout, const StoredBytes& record, ReplicaState& state,
                         int threads = 1);

}  // namespace tributary::optim

#endif  // TRIBUTARY_OPTIM_APPLY_H_
