// How many runs may be there that are not over.
#ifndef TRIBUTARY_COORDINATOR_QUEUE_BOUND_H_
#define TRIBUTARY_COORDINATOR_QUEUE_BOUND_H_

#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "coordinator/journal/journal.h"

namespace tributary::coordinator {

// Each keeps its initial state on the disk, and what is told of it in memory.
inline constexpr size_t kMaxRuns = 64;
inline constexpr size_t kMaxRunsOfOperator = 32;

// Whether the operator may submit one more. ResourceExhausted, exit code kUsage: there are as many as there may be. Errors of the journal.
absl::Status CheckQueue(Journal& journal, const std::string& operator_name);

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_QUEUE_BOUND_H_
