// What happened to the sites of each run and what operators did, and the evidence of replicas that differed.
#ifndef TRIBUTARY_COORDINATOR_JOURNAL_EVENT_TABLES_H_
#define TRIBUTARY_COORDINATOR_JOURNAL_EVENT_TABLES_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/journal/journal.h"
#include "coordinator/journal/run_ref.h"
#include "coordinator/journal/schema.h"
#include "coordinator/journal/sqlite_database.h"
#include "coordinator/journal/table.h"

namespace tributary::coordinator {

// Notes are kept in memory, at most kMaxNotedOfSite of a site in a run, until they are written: WriteNoted in a transaction that the caller
// began, ForgetNoted once that is durable. Errors as of Journal. Not thread-safe.
class EventTables {
 public:
  // `database` outlives it.
  EventTables(Database* database, int64_t format)
      : format_(format), database_(*database), events_(database, kEvents, format), evidence_(database, kEvidence, format) {}

  void Note(const RunRef& run, const JournaledEvent& event);
  void Note(const RunRef& run, const JournaledEvidence& evidence);
  bool HasNotes() const { return !noted_events_.empty() || !noted_evidence_.empty(); }
  // Also drops rows beyond the limits per site and overall.
  absl::Status WriteNoted();
  void ForgetNoted();

  // Oldest first; without notes.
  absl::StatusOr<std::vector<JournaledEvent>> Events(const RunRef& run) const;
  absl::StatusOr<std::vector<JournaledEvidence>> Evidence(const RunRef& run) const;

 private:
  template <typename Noted>
  using Notes = std::vector<std::pair<int64_t, Noted>>;  // by number of the run

  const int64_t format_;
  Database& database_;
  Table<NumberedOfRun, JournaledEvent> events_;
  Table<NumberedOfRun, JournaledEvidence> evidence_;
  Notes<JournaledEvent> noted_events_;
  Notes<JournaledEvidence> noted_evidence_;
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_JOURNAL_EVENT_TABLES_H_
