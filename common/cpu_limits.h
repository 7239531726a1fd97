// How many threads are worth starting here.
#ifndef TRIBUTARY_COMMON_CPU_LIMITS_H_
#define TRIBUTARY_COMMON_CPU_LIMITS_H_

#include <string>

namespace tributary {

// At least 1: the cores that this process may run on (its affinity), and no more than the CPU time that its control groups (v1 or v2) give
// it, rounded up. More threads would only wait for each other while the group is throttled. `root`, for tests: the folder that stands
// for /.
int UsableCores(const std::string& root = "");

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_CPU_LIMITS_H_
