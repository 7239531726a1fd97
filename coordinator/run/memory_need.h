// What a run takes of the coordinator's memory: all that depends on its specification. The program itself, sessions and SQLite's cache
// take some 100 MiB besides.
#ifndef TRIBUTARY_COORDINATOR_RUN_MEMORY_NEED_H_
#define TRIBUTARY_COORDINATOR_RUN_MEMORY_NEED_H_

#include <cstdint>

#include "common/memory_need.h"
#include "coordinator/run/run_log.h"

namespace tributary::coordinator {

// Partial uploads of all sites together; one that is larger is let in alone (rpc/upload_spools.h).
inline constexpr uint64_t kMaxSpoolBytes = uint64_t{1} << 30;

// Where updates and commits as long as the model are (RunHost::KeepsUpdateFiles); of other modes they are always in memory.
enum class LongUpdates { kInMemory, kInFiles };

// To submit it: state[0], whose snapshot goes to the disk in slices.
MemoryNeed MemoryToSubmit(const RunModel& model);

// To take it up after a restart: the state, and the aggregator with what its state is read from.
MemoryNeed MemoryToHold(const RunModel& model, LongUpdates where);

// For its rounds, at the worst moment of one with `members` sites.
MemoryNeed MemoryForRounds(const RunModel& model, uint64_t members, LongUpdates where);

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_RUN_MEMORY_NEED_H_
