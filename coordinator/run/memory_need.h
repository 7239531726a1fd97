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

// To submit it: state[0], and its snapshot on the way to the disk.
MemoryNeed MemoryToSubmit(const RunModel& model);

// To take it up after a restart: the state with the snapshot that it is read from, and the aggregator.
MemoryNeed MemoryToHold(const RunModel& model);

// For its rounds, at the worst moment of one with `members` sites.
MemoryNeed MemoryForRounds(const RunModel& model, uint64_t members);

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_RUN_MEMORY_NEED_H_
