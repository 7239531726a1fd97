// What a run takes of the coordinator's disk, by its model, its mode and what the configuration keeps.
#ifndef TRIBUTARY_COORDINATOR_RUN_DISK_NEED_H_
#define TRIBUTARY_COORDINATOR_RUN_DISK_NEED_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "coordinator/run/run_log.h"
#include "tributary/v1/config.pb.h"

namespace tributary::coordinator {

// The most that a run's updates, commits and snapshots take once `round` rounds of it, each with so many `members`, are committed. SQLite's
// write-ahead log comes on top: 64 MiB, or the largest update.
uint64_t DiskBytes(const RunModel& model, const v1::CoordinatorConfig& config, uint64_t members, uint64_t round);

// Members that a round of this run may have, where a federation has so many sites.
uint64_t MostMembers(const RunModel& model, uint64_t sites);

// Of a run that is submitted, or extended after `committed` rounds, where `free` bytes are left. ResourceExhausted, with both figures: not
// even one more round and its snapshots fit. Otherwise what the operator must know, for people; empty: all of it fits.
absl::StatusOr<std::string> JudgeDisk(const RunModel& model, const v1::CoordinatorConfig& config, uint64_t members, uint64_t committed,
                                      uint64_t free);

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_RUN_DISK_NEED_H_
