// The registry of sites in a journal.
#ifndef TRIBUTARY_COORDINATOR_JOURNAL_SITE_TABLE_H_
#define TRIBUTARY_COORDINATOR_JOURNAL_SITE_TABLE_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/journal/schema.h"
#include "coordinator/journal/sqlite_database.h"
#include "coordinator/journal/table.h"
#include "tributary/v1/enrolment.pb.h"

namespace tributary::coordinator {

// Writes are for a transaction that the caller began. Errors as of Journal. Not thread-safe.
class SiteTable {
 public:
  // `database` outlives it.
  SiteTable(Database* database, int64_t format) : database_(*database), sites_(database, kSites, format) {}

  // In place of the site of the same name.
  absl::Status Put(const v1::SiteRecord& site);
  // By name.
  absl::StatusOr<std::vector<v1::SiteRecord>> All() const;

 private:
  Database& database_;
  Table<SiteKey, SiteRow> sites_;
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_JOURNAL_SITE_TABLE_H_
