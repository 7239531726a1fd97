#include "coordinator/journal/sqlite_journal.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "common/files.h"
#include "common/status_macros.h"
#include "coordinator/journal/journal_check.h"
#include "coordinator/journal/journal_format.h"
#include "coordinator/journal/journal_truncation.h"

namespace tributary::coordinator {
namespace {

// Pages that pruned rounds leave are used again. What is more than the rounds up to the next pruning may need, twice what was logged since
// the last one and this, is given back: moving its pages takes about as long as writing them.
constexpr int64_t kReserveBytes = int64_t{64} << 20;
constexpr int64_t kMaxGivenBackAtOnce = int64_t{256} << 20;

}  // namespace

absl::StatusOr<std::unique_ptr<SqliteJournal>> SqliteJournal::Over(std::unique_ptr<Database> database, std::shared_ptr<const void> lock,
                                                                   std::function<void(double)> fsync_observer) {
  TRIBUTARY_ASSIGN_OR_RETURN(const int64_t format, CheckFormat(*database));
  auto journal = std::unique_ptr<SqliteJournal>(new SqliteJournal(std::move(database), format, std::move(lock), std::move(fsync_observer)));
  TRIBUTARY_RETURN_IF_ERROR(journal->tables_.runs.Load());
  return journal;
}

absl::Status SqliteJournal::Write(absl::FunctionRef<absl::Status()> body) {
  TRIBUTARY_RETURN_IF_ERROR(database_->Execute("BEGIN IMMEDIATE"));
  absl::Status status = body();
  if (status.ok()) {
    status = tables_.events.WriteNoted();
  }
  if (status.ok() && tables_.audit.has_value()) {
    status = tables_.audit->WriteNoted();
  }
  if (status.ok()) {
    const absl::Time start = Clock::Real().Now();
    status = database_->Execute("COMMIT");
    if (status.ok()) {
      tables_.events.ForgetNoted();
      if (tables_.audit.has_value()) {
        tables_.audit->ForgetNoted();
      }
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

absl::Status SqliteJournal::AddRun(const JournaledRun& run) {
  int64_t number = 0;
  TRIBUTARY_RETURN_IF_ERROR(Write([&]() -> absl::Status {
    TRIBUTARY_ASSIGN_OR_RETURN(number, tables_.runs.Add(run));
    return absl::OkStatus();
  }));
  tables_.runs.Learn(run.run_id, number);
  return absl::OkStatus();
}

absl::Status SqliteJournal::SetRunState(const std::string& run_id, v1::RunState state, absl::string_view reason, int64_t finished_unix_ms) {
  TRIBUTARY_ASSIGN_OR_RETURN(const RunRef run, tables_.runs.Find(run_id));
  return Write([&] { return tables_.runs.SetState(run, state, reason, finished_unix_ms); });
}

absl::Status SqliteJournal::ReplaceRun(const JournaledRun& run) {
  TRIBUTARY_ASSIGN_OR_RETURN(const RunRef ref, tables_.runs.Find(run.run_id));
  return Write([&] { return tables_.runs.Replace(ref, run); });
}

absl::StatusOr<std::vector<JournaledRun>> SqliteJournal::Runs() {
  return tables_.runs.All();
}

absl::Status SqliteJournal::PutSite(const v1::SiteRecord& site, const SiteAct& /*act*/) {
  if (!KeepsSites()) {
    return absl::FailedPreconditionError("a journal of this format has no place for sites");
  }
  return Write([&] { return tables_.sites->Put(site); });
}

absl::StatusOr<std::vector<v1::SiteRecord>> SqliteJournal::Sites() {
  return KeepsSites() ? tables_.sites->All() : std::vector<v1::SiteRecord>();
}

bool SqliteJournal::KeepsFiles() const {
  return format_ >= kFormatWithFiles;
}

absl::StatusOr<std::vector<std::string>> SqliteJournal::PayloadFiles(const std::string& run_id) {
  TRIBUTARY_ASSIGN_OR_RETURN(const RunRef run, tables_.runs.Find(run_id));
  std::vector<std::string> files;
  if (!KeepsFiles()) {
    return files;
  }
  Query rows(*database_,
             "SELECT file FROM updates WHERE run = ?1 AND file <> '' UNION ALL SELECT file FROM commits WHERE run = ?1 AND file <> ''");
  rows.Int(run.number);
  while (true) {
    TRIBUTARY_ASSIGN_OR_RETURN(const bool more, rows.Step());
    if (!more) {
      return files;
    }
    files.emplace_back(rows.GetBytes(0));
  }
}

absl::Status SqliteJournal::StartRound(const std::string& run_id, const JournaledRound& round) {
  TRIBUTARY_ASSIGN_OR_RETURN(const RunRef run, tables_.runs.Find(run_id));
  return Write([&] { return tables_.rounds.Start(run, round); });
}

absl::StatusOr<std::optional<JournaledRound>> SqliteJournal::OpenRound(const std::string& run_id) {
  TRIBUTARY_ASSIGN_OR_RETURN(const RunRef run, tables_.runs.Find(run_id));
  return tables_.rounds.Open(run);
}

absl::Status SqliteJournal::AddUpdates(const std::string& run_id, uint64_t round, absl::Span<const JournaledUpdate> updates) {
  TRIBUTARY_ASSIGN_OR_RETURN(const RunRef run, tables_.runs.Find(run_id));
  std::vector<const JournaledUpdate*> fresh;
  for (const JournaledUpdate& update : updates) {
    TRIBUTARY_ASSIGN_OR_RETURN(const bool known, tables_.rounds.HasUpdate(run, round, update));
    if (!known) {
      fresh.push_back(&update);
      logged_bytes_ += update.payload.size();
    }
  }
  return fresh.empty() ? absl::OkStatus() : Write([&]() -> absl::Status {
    for (const JournaledUpdate* const update : fresh) {
      TRIBUTARY_RETURN_IF_ERROR(tables_.rounds.AddUpdate(run, round, *update));
    }
    return absl::OkStatus();
  });
}

absl::Status SqliteJournal::VisitUpdates(const std::string& run_id, uint64_t round,
                                         const std::function<absl::Status(const JournaledUpdate&)>& visit) {
  TRIBUTARY_ASSIGN_OR_RETURN(const RunRef run, tables_.runs.Find(run_id));
  return tables_.rounds.VisitUpdates(run, round, visit);
}

absl::Status SqliteJournal::AddCommit(const std::string& run_id, uint64_t round, const JournaledCommit& commit) {
  TRIBUTARY_ASSIGN_OR_RETURN(const RunRef run, tables_.runs.Find(run_id));
  TRIBUTARY_RETURN_IF_ERROR(tables_.commits.CheckNext(run, round, commit));
  logged_bytes_ += commit.record.size();
  return Write([&]() -> absl::Status {
    TRIBUTARY_RETURN_IF_ERROR(tables_.commits.Add(run, round, commit));
    return tables_.rounds.Close(run);
  });
}

absl::StatusOr<uint64_t> SqliteJournal::LastCommit(const std::string& run_id) {
  TRIBUTARY_ASSIGN_OR_RETURN(const RunRef run, tables_.runs.Find(run_id));
  return tables_.commits.Last(run);
}

absl::StatusOr<uint64_t> SqliteJournal::LastIncluded(const std::string& run_id, const std::string& site) {
  TRIBUTARY_ASSIGN_OR_RETURN(const RunRef run, tables_.runs.Find(run_id));
  return tables_.commits.LastIncluded(run, site);
}

absl::StatusOr<JournaledCommit> SqliteJournal::Commit(const std::string& run_id, uint64_t round) {
  TRIBUTARY_ASSIGN_OR_RETURN(const RunRef run, tables_.runs.Find(run_id));
  return tables_.commits.Commit(run, round);
}

absl::Status SqliteJournal::VisitCommits(const std::string& run_id, uint64_t first, uint64_t last,
                                         const std::function<absl::Status(uint64_t, const JournaledCommit&)>& visit) {
  TRIBUTARY_ASSIGN_OR_RETURN(const RunRef run, tables_.runs.Find(run_id));
  return tables_.commits.Visit(run, first, last, visit);
}

absl::StatusOr<std::vector<CommitSummary>> SqliteJournal::CommitSummaries(const std::string& run_id) {
  TRIBUTARY_ASSIGN_OR_RETURN(const RunRef run, tables_.runs.Find(run_id));
  return tables_.commits.Summaries(run);
}

absl::StatusOr<uint64_t> SqliteJournal::PruneCommits(const std::string& run_id, uint64_t last) {
  TRIBUTARY_ASSIGN_OR_RETURN(const RunRef run, tables_.runs.Find(run_id));
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<JournaledSnapshot> snapshots, tables_.snapshots.All(run));
  if (!CanPrune() || snapshots.empty() || snapshots.back().round < last) {
    return absl::FailedPreconditionError(absl::StrCat("run ", run_id, ": commits up to round ", last, " cannot be pruned"));
  }
  TRIBUTARY_RETURN_IF_ERROR(Write([&] { return tables_.commits.Prune(run, last, kMaxPrunedAtOnce); }));
  TRIBUTARY_RETURN_IF_ERROR(Shrink());
  return tables_.commits.PrunedThrough(run);
}

absl::StatusOr<uint64_t> SqliteJournal::PrunedThrough(const std::string& run_id) {
  TRIBUTARY_ASSIGN_OR_RETURN(const RunRef run, tables_.runs.Find(run_id));
  return tables_.commits.PrunedThrough(run);
}

absl::Status SqliteJournal::Shrink() {
  TRIBUTARY_ASSIGN_OR_RETURN(const int64_t page_bytes, ReadPragma(*database_, "PRAGMA page_size"));
  TRIBUTARY_ASSIGN_OR_RETURN(const int64_t free_pages, ReadPragma(*database_, "PRAGMA freelist_count"));
  const int64_t reserve = kReserveBytes + 2 * static_cast<int64_t>(std::exchange(logged_bytes_, 0));
  const int64_t spare = std::min(free_pages * page_bytes - reserve, kMaxGivenBackAtOnce) / page_bytes;
  return spare > 0 ? database_->Execute(absl::StrCat("PRAGMA incremental_vacuum(", spare, ")")) : absl::OkStatus();
}

absl::StatusOr<std::vector<v1::SiteStatus>> SqliteJournal::SiteTotals(const std::string& run_id) {
  TRIBUTARY_ASSIGN_OR_RETURN(const RunRef run, tables_.runs.Find(run_id));
  return tables_.commits.SiteTotals(run);
}

absl::Status SqliteJournal::ReplaceAccounts(const std::string& run_id, const v1::RoundRecord& round_record,
                                            const std::vector<v1::SiteStatus>& site_totals) {
  TRIBUTARY_ASSIGN_OR_RETURN(const RunRef run, tables_.runs.Find(run_id));
  TRIBUTARY_ASSIGN_OR_RETURN(const uint64_t last, tables_.commits.Last(run));
  if (last == 0 || round_record.round() != last) {
    return absl::FailedPreconditionError(
        absl::StrCat("run ", run_id, ": accounts of round ", round_record.round(), ", but the newest commit is of round ", last));
  }
  return Write([&] { return tables_.commits.ReplaceAccounts(run, round_record, site_totals); });
}

absl::StatusOr<Arrivals> SqliteJournal::LatestArrivals(const std::string& run_id) {
  TRIBUTARY_ASSIGN_OR_RETURN(const RunRef run, tables_.runs.Find(run_id));
  return tables_.commits.LatestArrivals(run);
}

void SqliteJournal::NoteEvent(const std::string& run_id, const JournaledEvent& event) {
  if (const absl::StatusOr<RunRef> run = tables_.runs.Find(run_id); run.ok()) {
    tables_.events.Note(*run, event);
  }
}

void SqliteJournal::NoteEvidence(const std::string& run_id, const JournaledEvidence& evidence) {
  if (const absl::StatusOr<RunRef> run = tables_.runs.Find(run_id); run.ok()) {
    tables_.events.Note(*run, evidence);
  }
}

absl::Status SqliteJournal::Flush() {
  const bool has_notes = tables_.events.HasNotes() || (tables_.audit.has_value() && tables_.audit->HasNotes());
  return has_notes ? Write([] { return absl::OkStatus(); }) : absl::OkStatus();
}

absl::StatusOr<std::vector<JournaledEvent>> SqliteJournal::Events(const std::string& run_id) {
  TRIBUTARY_ASSIGN_OR_RETURN(const RunRef run, tables_.runs.Find(run_id));
  return tables_.events.Events(run);
}

absl::StatusOr<std::vector<JournaledEvidence>> SqliteJournal::Evidence(const std::string& run_id) {
  TRIBUTARY_ASSIGN_OR_RETURN(const RunRef run, tables_.runs.Find(run_id));
  return tables_.events.Evidence(run);
}

absl::Status SqliteJournal::SetEvaluation(const std::string& run_id, uint64_t round, const JournaledEvaluation& evaluation) {
  TRIBUTARY_ASSIGN_OR_RETURN(const RunRef run, tables_.runs.Find(run_id));
  return Write([&] { return tables_.snapshots.SetEvaluation(run, round, evaluation); });
}

absl::StatusOr<JournaledEvaluations> SqliteJournal::Evaluations(const std::string& run_id) {
  TRIBUTARY_ASSIGN_OR_RETURN(const RunRef run, tables_.runs.Find(run_id));
  return tables_.snapshots.Evaluations(run);
}

absl::Status SqliteJournal::InsertSnapshot(const RunRef& run, const JournaledSnapshot& snapshot) {
  TRIBUTARY_RETURN_IF_ERROR(tables_.snapshots.Add(run, snapshot));
  return tables_.rounds.PruneUpdates(run, snapshot.round);
}

absl::Status SqliteJournal::AddSnapshot(const std::string& run_id, const JournaledSnapshot& snapshot) {
  TRIBUTARY_ASSIGN_OR_RETURN(const RunRef run, tables_.runs.Find(run_id));
  return Write([&] { return InsertSnapshot(run, snapshot); });
}

absl::Status SqliteJournal::RemoveSnapshot(const std::string& run_id, uint64_t round) {
  TRIBUTARY_ASSIGN_OR_RETURN(const RunRef run, tables_.runs.Find(run_id));
  return Write([&] { return tables_.snapshots.Remove(run, round); });
}

absl::StatusOr<std::vector<JournaledSnapshot>> SqliteJournal::Snapshots(const std::string& run_id) {
  TRIBUTARY_ASSIGN_OR_RETURN(const RunRef run, tables_.runs.Find(run_id));
  return tables_.snapshots.All(run);
}

absl::Status SqliteJournal::CheckForStart(JournalDisk& disk) {
  return coordinator::CheckForStart(*database_, tables_, disk);
}

absl::Status SqliteJournal::CheckIntegrity() {
  TRIBUTARY_RETURN_IF_ERROR(coordinator::CheckIntegrity(*database_));
  TRIBUTARY_RETURN_IF_ERROR(Sites().status());
  return tables_.audit.has_value() ? tables_.audit->Check() : absl::OkStatus();
}

absl::Status SqliteJournal::CheckRun(const JournaledRun& run) {
  return CheckWholeRun(*database_, tables_, run);
}

absl::Status SqliteJournal::BackUp(const std::string& path, const CopyProgress& progress) {
  TRIBUTARY_RETURN_IF_ERROR(database_->CopyTo(path, progress));
  return SyncPath(path);
}

absl::StatusOr<std::vector<std::string>> SqliteJournal::Truncate(
    const std::string& run_id, uint64_t round, const std::function<absl::StatusOr<std::optional<JournaledSnapshot>>()>& settle) {
  TRIBUTARY_ASSIGN_OR_RETURN(const RunRef run, tables_.runs.Find(run_id));
  std::vector<std::string> dropped;
  TRIBUTARY_RETURN_IF_ERROR(Write([&]() -> absl::Status {
    TRIBUTARY_ASSIGN_OR_RETURN(dropped, TakeBack(*database_, tables_, run, round));
    TRIBUTARY_ASSIGN_OR_RETURN(const std::optional<JournaledSnapshot> start, settle());
    return start.has_value() ? InsertSnapshot(run, *start) : absl::OkStatus();
  }));
  return dropped;
}

}  // namespace tributary::coordinator
