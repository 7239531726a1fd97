// All tables of one open journal.
#ifndef TRIBUTARY_COORDINATOR_JOURNAL_JOURNAL_TABLES_H_
#define TRIBUTARY_COORDINATOR_JOURNAL_JOURNAL_TABLES_H_

#include <cstdint>
#include <optional>

#include "coordinator/journal/audit_tables.h"
#include "coordinator/journal/commit_tables.h"
#include "coordinator/journal/event_tables.h"
#include "coordinator/journal/round_tables.h"
#include "coordinator/journal/run_table.h"
#include "coordinator/journal/schema.h"
#include "coordinator/journal/site_table.h"
#include "coordinator/journal/snapshot_tables.h"
#include "coordinator/journal/sqlite_database.h"

namespace tributary::coordinator {

struct JournalTables {
  // `database` outlives it.
  JournalTables(Database* database, int64_t format)
      : runs(database, format), rounds(database, format), commits(database, format), snapshots(database, format), events(database, format) {
    if (format >= kFormatWithAudit) {
      audit.emplace(database, format);
    }
    if (format >= kFormatWithSites) {
      sites.emplace(database, format);
    }
  }

  RunTable runs;
  RoundTables rounds;
  CommitTables commits;
  SnapshotTables snapshots;
  EventTables events;
  std::optional<AuditTables> audit;
  std::optional<SiteTable> sites;
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_JOURNAL_JOURNAL_TABLES_H_
