// Which commits a run may forget: `log` of coordinator.yaml, and what still can be had of a log that has forgotten some.
#ifndef TRIBUTARY_COORDINATOR_RUN_LOG_KEEPING_H_
#define TRIBUTARY_COORDINATOR_RUN_LOG_KEEPING_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "coordinator/journal/journal.h"
#include "tributary/v1/config.pb.h"

namespace tributary::coordinator {

inline bool Prunes(const v1::LogConfig& config) {
  return config.keep() == v1::LogConfig::SINCE_SNAPSHOT;
}

// InvalidArgument: it says something that would have no effect.
absl::Status CheckLogConfig(const v1::LogConfig& config);

// The newest round whose record may go; 0: none. `record_bytes`: by round from 0 on, of all records up to it. `oldest_snapshot`: of the
// snapshots from which people or sites may start, except that of the initial weights, the oldest.
uint64_t PrunableThrough(const v1::LogConfig& config, absl::Span<const uint64_t> record_bytes, uint64_t oldest_snapshot);

// The oldest round, besides 0, to whose state a log still leads that is pruned up to round `pruned`; 0: to every state. UINT64_MAX: to
// none, which is damage. `snapshots` ascending.
uint64_t OldestState(uint64_t pruned, const std::vector<JournaledSnapshot>& snapshots);
// NotFound, for people, if `round` is neither 0 nor `oldest` or later.
absl::Status CheckNotPruned(const std::string& run_id, uint64_t round, uint64_t pruned, uint64_t oldest);

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_RUN_LOG_KEEPING_H_
