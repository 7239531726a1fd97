// The log of commits of each run, and what stands beside its newest: the sites' counters and the latest arrivals.
#ifndef TRIBUTARY_COORDINATOR_JOURNAL_COMMIT_TABLES_H_
#define TRIBUTARY_COORDINATOR_JOURNAL_COMMIT_TABLES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/journal/journal.h"
#include "coordinator/journal/run_ref.h"
#include "coordinator/journal/schema.h"
#include "coordinator/journal/sqlite_database.h"
#include "coordinator/journal/table.h"

namespace tributary::coordinator {

// Writes are for a transaction that the caller began. Errors as of Journal. Not thread-safe.
class CommitTables {
 public:
  // `database` outlives it.
  CommitTables(Database* database, int64_t format)
      : database_(*database),
        format_(format),
        commits_(database, kCommits, format),
        site_totals_(database, kSiteTotals, format),
        arrivals_(database, kArrivals, format) {}

  // That the commit is of the next round and its chain hash continues the log. FailedPrecondition: it is of another round.
  absl::Status CheckNext(const RunRef& run, uint64_t round, const JournaledCommit& commit) const;
  // The commit with its counters and arrivals; after CheckNext.
  absl::Status Add(const RunRef& run, uint64_t round, const JournaledCommit& commit);
  // Replaces the accounts of the newest commit.
  absl::Status ReplaceAccounts(const RunRef& run, const v1::RoundRecord& round_record, const std::vector<v1::SiteStatus>& site_totals);

  // Drops records from the first that is there up to that of `last`, or till about `max_bytes` have gone.
  absl::Status Prune(const RunRef& run, uint64_t last, uint64_t max_bytes);
  // The newest round whose record was pruned; 0: none.
  absl::StatusOr<uint64_t> PrunedThrough(const RunRef& run) const;

  // 0: none.
  absl::StatusOr<uint64_t> Last(const RunRef& run) const;
  // The newest round whose commit holds an update of the site; 0: none does.
  absl::StatusOr<uint64_t> LastIncluded(const RunRef& run, const std::string& site) const;
  // NotFound. Of a pruned round: without its record.
  absl::StatusOr<JournaledCommit> Commit(const RunRef& run, uint64_t round) const;
  // In order, checking that each continues the one before; stops at the first error of `visit`, which may read the journal. NotFound: the
  // log has no such rounds, or they are pruned.
  absl::Status Visit(const RunRef& run, uint64_t first, uint64_t last,
                     absl::FunctionRef<absl::Status(uint64_t round, const JournaledCommit&)> visit) const;
  // Ascending, without reading the records.
  absl::StatusOr<std::vector<CommitSummary>> Summaries(const RunRef& run) const;

  // Empty before the first commit.
  absl::StatusOr<std::vector<v1::SiteStatus>> SiteTotals(const RunRef& run) const;
  absl::StatusOr<Arrivals> LatestArrivals(const RunRef& run) const;

  // Later commits go, sound or not. DataLoss, exit code kDamaged: an earlier one is missing.
  absl::Status DropAfter(const RunRef& run, uint64_t round);

 private:
  absl::StatusOr<bool> IsPruned(const RunRef& run, uint64_t round) const;
  // DataLoss, exit code kDamaged: it is gone or damaged.
  absl::StatusOr<JournaledCommit> WithoutRecord(const RunRef& run, uint64_t round, CommitKey& key) const;
  absl::StatusOr<Digest> ChainHash(const RunRef& run, uint64_t round) const;
  // The next of `rows`, its record checked too if that part is read.
  absl::StatusOr<bool> Next(const RunRef& run, Query& rows, CommitKey& key, JournaledCommit& commit, Part part) const;

  Database& database_;
  const int64_t format_;
  Table<CommitKey, JournaledCommit> commits_;
  Table<OfRun, SiteTotalsRow> site_totals_;
  Table<OfRun, ArrivalsRow> arrivals_;
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_JOURNAL_COMMIT_TABLES_H_
