// One digest of a replica's state, by which replicas compare themselves. Format: docs/reference/wire_format.md, "State hash".
#ifndef TRIBUTARY_OPTIM_STATE_HASH_H_
#define TRIBUTARY_OPTIM_STATE_HASH_H_

#include <vector>

#include "optim/layout.h"
#include "optim/replica_state.h"

namespace tributary::optim {

// SHA-256 over layout hash, round, and the hashes of theta and slots by block. Equal states, and only they, have equal hashes.
// Theta and slots must have the layout's size. `threads` >= 1 share the work, large blocks too.
Digest StateHash(const Layout& layout, const ReplicaState& state, int threads = 1);

// Hashes of single blocks: theta's by number, then each slot's.
using BlockHashes = std::vector<Digest>;
// The same hash for one who follows a state from commit to commit: `held` is empty, or what the last call left, and then only blocks that
// Apply can move are hashed again (frozen ones are not). Empty it where the state comes from elsewhere than Apply.
Digest StateHash(const Layout& layout, const ReplicaState& state, int threads, BlockHashes& held);

}  // namespace tributary::optim

#endif  // TRIBUTARY_OPTIM_STATE_HASH_H_
