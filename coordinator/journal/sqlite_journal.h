// The journal in SQLite; callers use coordinator/journal/journal.h, and open one by open_journal.h. docs/reference/journal_format.md
// describes the file.
//
// A bit flip that SQLite cannot see (in the middle of a blob, say) is caught by a CRC-32C in every row, and the log of commits by its own
// hash chain; so a damaged journal is refused, and never replayed into another model.
#ifndef TRIBUTARY_COORDINATOR_JOURNAL_SQLITE_JOURNAL_H_
#define TRIBUTARY_COORDINATOR_JOURNAL_SQLITE_JOURNAL_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "coordinator/journal/journal.h"
#include "coordinator/journal/journal_disk.h"
#include "coordinator/journal/journal_tables.h"
#include "coordinator/journal/schema.h"
#include "coordinator/journal/sqlite_database.h"

namespace tributary::coordinator {

// Here is what is a transaction, and when; the rows are with the tables.
class SqliteJournal final : public Journal {
 public:
  // Over a database that CheckFormat accepts, which it checks. `lock` is held as long as the journal lives. `fsync_observer`, if given, is
  // told the seconds of every durable write.
  static absl::StatusOr<std::unique_ptr<SqliteJournal>> Over(std::unique_ptr<Database> database, std::shared_ptr<const void> lock,
                                                             std::function<void(double)> fsync_observer);

  // journal_check.h, CheckForStart.
  absl::Status CheckForStart(JournalDisk& disk);

  absl::Status AddRun(const JournaledRun& run) override;
  absl::Status SetRunState(const std::string& run_id, v1::RunState state, absl::string_view reason, int64_t finished_unix_ms) override;
  absl::Status ReplaceRun(const JournaledRun& run) override;
  absl::StatusOr<std::vector<JournaledRun>> Runs() override;
  bool KeepsSites() const override { return tables_.sites.has_value(); }
  absl::Status PutSite(const v1::SiteRecord& site, const SiteAct& act) override;
  absl::StatusOr<std::vector<v1::SiteRecord>> Sites() override;
  bool KeepsFiles() const override;
  absl::StatusOr<std::vector<std::string>> PayloadFiles(const std::string& run_id) override;
  absl::Status StartRound(const std::string& run_id, const JournaledRound& round) override;
  absl::StatusOr<std::optional<JournaledRound>> OpenRound(const std::string& run_id) override;
  absl::Status AddUpdates(const std::string& run_id, uint64_t round, absl::Span<const JournaledUpdate> updates) override;
  absl::Status VisitUpdates(const std::string& run_id, uint64_t round,
                            const std::function<absl::Status(const JournaledUpdate&)>& visit) override;
  absl::Status AddCommit(const std::string& run_id, uint64_t round, const JournaledCommit& commit) override;
  absl::StatusOr<uint64_t> LastCommit(const std::string& run_id) override;
  absl::StatusOr<uint64_t> LastIncluded(const std::string& run_id, const std::string& site) override;
  absl::StatusOr<JournaledCommit> Commit(const std::string& run_id, uint64_t round) override;
  absl::Status VisitCommits(const std::string& run_id, uint64_t first, uint64_t last,
                            const std::function<absl::Status(uint64_t, const JournaledCommit&)>& visit) override;
  absl::StatusOr<std::vector<CommitSummary>> CommitSummaries(const std::string& run_id) override;
  absl::StatusOr<uint64_t> PruneCommits(const std::string& run_id, uint64_t last) override;
  absl::StatusOr<uint64_t> PrunedThrough(const std::string& run_id) override;
  bool CanPrune() const override { return format_ >= kFormatWithPruning; }
  absl::StatusOr<std::vector<v1::SiteStatus>> SiteTotals(const std::string& run_id) override;
  absl::Status ReplaceAccounts(const std::string& run_id, const v1::RoundRecord& round_record,
                               const std::vector<v1::SiteStatus>& site_totals) override;
  absl::StatusOr<Arrivals> LatestArrivals(const std::string& run_id) override;
  void NoteEvent(const std::string& run_id, const JournaledEvent& event) override;
  void NoteEvidence(const std::string& run_id, const JournaledEvidence& evidence) override;
  AuditStore* audit() override { return tables_.audit.has_value() ? &*tables_.audit : nullptr; }
  absl::Status Flush() override;
  absl::StatusOr<std::vector<JournaledEvent>> Events(const std::string& run_id) override;
  absl::StatusOr<std::vector<JournaledEvidence>> Evidence(const std::string& run_id) override;
  bool KeepsMetrics() const override { return format_ >= kFormatWithMetrics; }
  absl::Status SetEvaluation(const std::string& run_id, uint64_t round, const JournaledEvaluation& evaluation) override;
  absl::StatusOr<JournaledEvaluations> Evaluations(const std::string& run_id) override;
  absl::Status AddSnapshot(const std::string& run_id, const JournaledSnapshot& snapshot) override;
  absl::Status RemoveSnapshot(const std::string& run_id, uint64_t round) override;
  absl::StatusOr<std::vector<JournaledSnapshot>> Snapshots(const std::string& run_id) override;
  absl::Status CheckIntegrity() override;
  absl::Status CheckRun(const JournaledRun& run) override;
  absl::Status BackUp(const std::string& path, const CopyProgress& progress) override;
  absl::StatusOr<std::vector<std::string>> Truncate(
      const std::string& run_id, uint64_t round, const std::function<absl::StatusOr<std::optional<JournaledSnapshot>>()>& settle) override;

 private:
  SqliteJournal(std::unique_ptr<Database> database, int64_t format, std::shared_ptr<const void> lock,
                std::function<void(double)> fsync_observer)
      : lock_(std::move(lock)),
        database_(std::move(database)),
        fsync_observer_(std::move(fsync_observer)),
        format_(format),
        tables_(database_.get(), format) {}

  // `body` and what was noted in one transaction, durable when this returns OK, undone on any error.
  absl::Status Write(absl::FunctionRef<absl::Status()> body);
  // Gives back to the file system what the rounds up to the next pruning are not going to use again; some of it, if it is much.
  absl::Status Shrink();
  // Inside a transaction.
  absl::Status InsertSnapshot(const RunRef& run, const JournaledSnapshot& snapshot);

  std::shared_ptr<const void> lock_;
  std::unique_ptr<Database> database_;
  std::function<void(double)> fsync_observer_;
  const int64_t format_;
  JournalTables tables_;
  uint64_t logged_bytes_ = 0;  // of updates and commits, since the last PruneCommits
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_JOURNAL_SQLITE_JOURNAL_H_
