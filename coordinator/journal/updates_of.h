// The updates of a round, all at once.
#ifndef TRIBUTARY_COORDINATOR_JOURNAL_UPDATES_OF_H_
#define TRIBUTARY_COORDINATOR_JOURNAL_UPDATES_OF_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/journal/journal.h"

namespace tributary::coordinator {

inline absl::StatusOr<std::vector<JournaledUpdate>> UpdatesOf(Journal& journal, const std::string& run_id, uint64_t round) {
  std::vector<JournaledUpdate> updates;
  const absl::Status visited = journal.VisitUpdates(run_id, round, [&updates](const JournaledUpdate& update) {
    updates.push_back(update);
    return absl::OkStatus();
  });
  if (!visited.ok()) {
    return visited;
  }
  return updates;
}

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_JOURNAL_UPDATES_OF_H_
