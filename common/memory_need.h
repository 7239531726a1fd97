// What a piece of work will take of memory, term by term, and whether it may begin.
#ifndef TRIBUTARY_COMMON_MEMORY_NEED_H_
#define TRIBUTARY_COMMON_MEMORY_NEED_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "common/memory_limits.h"

namespace tributary {

// Bytes that are held at one time, at the worst moment.
struct MemoryNeed {
  struct Term {
    std::string what;  // for people: "model state"
    uint64_t bytes = 0;
  };
  std::vector<Term> terms;

  uint64_t total() const;  // at most UINT64_MAX
};

// "11.18 GiB of memory (model state 3.73 GiB, sums of the round 7.45 GiB)", the largest terms first; terms of nothing are left out.
std::string FormatNeed(const MemoryNeed& need);

// OK: `need` fits into what is available. FailedPrecondition, exit code kMemory, with both figures, if it does not. `needs` begins the
// message: "run bible needs".
absl::Status CheckMemory(absl::string_view needs, const MemoryNeed& need, const MemoryLimits& limits);

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_MEMORY_NEED_H_
