// The journal in SQLite; callers use coordinator/journal/journal.h. docs/journal_format.md describes the file.
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

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "common/status_macros.h"
#include "coordinator/journal/journal.h"
#include "coordinator/journal/sqlite_database.h"

namespace tributary::coordinator {

class SqliteJournal final : public Journal {
 public:
  // `lock` is held as long as the journal lives.
  SqliteJournal(std::unique_ptr<Database> database, std::shared_ptr<const void> lock, std::function<void(double)> fsync_observer)
      : lock_(std::move(lock)), database_(std::move(database)), fsync_observer_(std::move(fsync_observer)) {}

  // That the file is a journal of a format this program knows, with exactly its tables.
  absl::Status CheckFormat();
  // Reads the numbers of the runs. Before any other method.
  absl::Status Load();
  // Everything that a start relies on: SQLite's own check, and for runs that are not over, the chain.
  absl::Status Verify(JournalDisk& disk);

  absl::Status AddRun(const JournaledRun& run) override;
  absl::Status SetRunState(const std::string& run_id, v1::RunState state, absl::string_view reason, int64_t finished_unix_ms) override;
  absl::StatusOr<std::vector<JournaledRun>> Runs() override;
  absl::Status StartRound(const std::string& run_id, const JournaledRound& round) override;
  absl::StatusOr<std::optional<JournaledRound>> OpenRound(const std::string& run_id) override;
  absl::Status AddUpdate(const std::string& run_id, uint64_t round, const JournaledUpdate& update) override;
  absl::Status VisitUpdates(const std::string& run_id, uint64_t round,
                            const std::function<absl::Status(const JournaledUpdate&)>& visit) override;
  absl::Status AddCommit(const std::string& run_id, uint64_t round, const JournaledCommit& commit) override;
  absl::StatusOr<uint64_t> LastCommit(const std::string& run_id) override;
  absl::StatusOr<uint64_t> LastIncluded(const std::string& run_id, const std::string& site) override;
  absl::StatusOr<JournaledCommit> Commit(const std::string& run_id, uint64_t round) override;
  absl::Status VisitCommits(const std::string& run_id, uint64_t first, uint64_t last,
                            const std::function<absl::Status(uint64_t, const JournaledCommit&)>& visit) override;
  absl::StatusOr<std::vector<CommitSummary>> CommitSummaries(const std::string& run_id) override;
  absl::StatusOr<std::vector<v1::SiteStatus>> SiteTotals(const std::string& run_id) override;
  absl::Status ReplaceAccounts(const std::string& run_id, const v1::RoundRecord& round_record,
                               const std::vector<v1::SiteStatus>& site_totals) override;
  absl::StatusOr<Arrivals> LatestArrivals(const std::string& run_id) override;
  void NoteEvent(const std::string& run_id, const JournaledEvent& event) override;
  void NoteEvidence(const std::string& run_id, const JournaledEvidence& evidence) override;
  absl::Status Flush() override;
  absl::StatusOr<std::vector<JournaledEvent>> Events(const std::string& run_id) override;
  absl::StatusOr<std::vector<JournaledEvidence>> Evidence(const std::string& run_id) override;
  absl::Status SetValidationLoss(const std::string& run_id, uint64_t round, double loss) override;
  absl::StatusOr<std::map<uint64_t, double>> ValidationLosses(const std::string& run_id) override;
  absl::Status AddSnapshot(const std::string& run_id, const JournaledSnapshot& snapshot) override;
  absl::Status RemoveSnapshot(const std::string& run_id, uint64_t round) override;
  absl::StatusOr<std::vector<JournaledSnapshot>> Snapshots(const std::string& run_id) override;
  absl::Status CheckIntegrity() override;
  absl::Status CheckRun(const JournaledRun& run) override;
  absl::Status BackUp(const std::string& path) override;
  absl::StatusOr<std::vector<std::string>> Truncate(
      const std::string& run_id, uint64_t round, const std::function<absl::StatusOr<std::optional<JournaledSnapshot>>()>& settle) override;

 private:
  std::string RunNamed(int64_t number) const;
  absl::Status DamagedRow(absl::string_view what) const { return DamagedJournal(database_->path(), what); }

  absl::StatusOr<int64_t> Number(const std::string& run_id) const {
    const auto found = numbers_.find(run_id);
    if (found == numbers_.end()) {
      return absl::NotFoundError(absl::StrCat("the journal has no run '", run_id, "'"));
    }
    return found->second;
  }

  // `body` in one transaction, durable when this returns OK, undone on any error.
  template <typename Body>
  absl::Status Write(Body body) {
    TRIBUTARY_RETURN_IF_ERROR(database_->Execute("BEGIN IMMEDIATE"));
    absl::Status status = body();
    if (status.ok()) {
      status = WriteNoted();
    }
    if (status.ok()) {
      const absl::Time start = Clock::Real().Now();
      status = database_->Execute("COMMIT");
      if (status.ok()) {
        noted_events_.clear();
        noted_evidence_.clear();
        if (fsync_observer_ != nullptr) {
          fsync_observer_(absl::ToDoubleSeconds(Clock::Real().Now() - start));
        }
        return status;
      }
    }
    // Some errors have ended the transaction already.
    if (database_->InTransaction()) {
      const absl::Status undone = database_->Execute("ROLLBACK");
      if (!undone.ok()) {
        return Annotate(undone, absl::StrCat("undoing a write that failed (", status.message(), ")"));
      }
    }
    return status;
  }

  absl::StatusOr<uint64_t> LastCommitOf(int64_t run);
  absl::StatusOr<std::string> ChainHashOf(int64_t run, uint64_t round);
  // Inside a transaction.
  absl::Status WriteNoted();
  absl::Status InsertSnapshot(int64_t run, const JournaledSnapshot& snapshot);
  absl::StatusOr<std::vector<std::string>> DropDamaged(int64_t run, const std::string& run_id);
  absl::Status WriteArrivals(int64_t run, const Arrivals& arrivals);
  absl::Status WriteSiteTotals(int64_t run, const std::vector<v1::SiteStatus>& site_totals);
  // Of a row "round, chain_hash, state_hash, round_record, included, crc, record_crc, record".
  absl::StatusOr<JournaledCommit> ReadCommit(int64_t run, const Query& row) const;
  absl::Status CheckReferences();
  // `whole`: also what a start leaves to be checked when it is read.
  absl::Status VerifyRun(const JournaledRun& run, bool whole);

  std::shared_ptr<const void> lock_;
  std::unique_ptr<Database> database_;
  std::function<void(double)> fsync_observer_;
  std::map<std::string, int64_t> numbers_;                        // of runs, by id
  std::vector<std::pair<int64_t, JournaledEvent>> noted_events_;  // by number of the run
  std::vector<std::pair<int64_t, JournaledEvidence>> noted_evidence_;
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_JOURNAL_SQLITE_JOURNAL_H_
