// How much memory this process may have, whoever bounds it.
#ifndef TRIBUTARY_COMMON_MEMORY_LIMITS_H_
#define TRIBUTARY_COMMON_MEMORY_LIMITS_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace tributary {

// Bytes. Swap does not count: what trains on swap does not get anywhere.
struct MemoryLimits {
  // The least of the machine's memory, the limits of the control groups (v1 or v2) and the address space (ulimit -v).
  uint64_t total = 0;
  // What may still be taken before the tightest of these is reached. Pages of files that the kernel can drop count as free.
  uint64_t available = 0;
  // What bounds `available`, for people: "this machine", "control group /sys/fs/cgroup/memory/x", "ulimit -v".
  std::string bound_by;
};

// As things are now; read from /proc and /sys, in well under a millisecond. `root`, for tests: the folder that stands for /. Unavailable:
// the machine does not say (it is no Linux, or /proc is not mounted).
absl::StatusOr<MemoryLimits> ReadMemoryLimits(const std::string& root = "");

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_MEMORY_LIMITS_H_
