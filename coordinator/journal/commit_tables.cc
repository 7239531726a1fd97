#include "coordinator/journal/commit_tables.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/checksum.h"
#include "common/status_macros.h"
#include "optim/commit.h"

namespace tributary::coordinator {

absl::StatusOr<uint64_t> CommitTables::Last(const RunRef& run) const {
  Query row(database_, "SELECT COALESCE(MAX(round), 0) FROM commits WHERE run = ?");
  TRIBUTARY_RETURN_IF_ERROR(row.Int(run.number).Run());
  return row.GetUnsigned(0);
}

absl::StatusOr<Digest> CommitTables::ChainHash(const RunRef& run, uint64_t round) const {
  Query row(database_, "SELECT chain_hash FROM commits WHERE run = ? AND round = ?");
  TRIBUTARY_ASSIGN_OR_RETURN(const bool found, row.Int(run.number).Unsigned(round).Step());
  Digest hash{};
  if (!found || !Decode(row.GetBytes(0), hash)) {
    return DamagedJournal(database_.path(), absl::StrCat("run ", run.id, ": the commit of round ", round, " is gone"));
  }
  return hash;
}

absl::Status CommitTables::CheckNext(const RunRef& run, uint64_t round, const JournaledCommit& commit) const {
  TRIBUTARY_RETURN_IF_ERROR(CheckSiteNames(commit.included));
  TRIBUTARY_ASSIGN_OR_RETURN(const uint64_t last, Last(run));
  if (round != last + 1) {
    return absl::FailedPreconditionError(absl::StrCat("run ", run.id, ": commit of round ", round, " after that of round ", last));
  }
  if (last > 0) {
    // A log that does not continue itself would be refused at the next start; better now, while the round can still fail by itself.
    TRIBUTARY_ASSIGN_OR_RETURN(const Digest previous, ChainHash(run, last));
    if (commit.file.empty() && optim::ChainHash(previous, commit.record) != commit.chain_hash) {
      return absl::InternalError(absl::StrCat("run ", run.id, ", round ", round, ": the chain hash does not continue the log"));
    }
  }
  return absl::OkStatus();
}

absl::Status CommitTables::Add(const RunRef& run, uint64_t round, const JournaledCommit& commit) {
  TRIBUTARY_RETURN_IF_ERROR(commits_.Insert({run.number, round, commit.record.size(), Crc32c(commit.record)}, commit));
  TRIBUTARY_RETURN_IF_ERROR(site_totals_.Replace({run.number}, {commit.site_totals}));
  return arrivals_.Replace({run.number}, {commit.arrivals[0], commit.arrivals[1]});
}

absl::StatusOr<JournaledCommit> CommitTables::WithoutRecord(const RunRef& run, uint64_t round, CommitKey& key) const {
  Query row(database_, commits_.Select("WHERE run = ? AND round = ?", Part::kWithoutLarge));
  JournaledCommit commit;
  TRIBUTARY_ASSIGN_OR_RETURN(const bool found, Next(run, row.Int(run.number).Unsigned(round), key, commit, Part::kWithoutLarge));
  if (!found) {
    return DamagedJournal(database_.path(), absl::StrCat("run ", run.id, ": the commit of round ", round, " is gone"));
  }
  return commit;
}

absl::StatusOr<bool> CommitTables::IsPruned(const RunRef& run, uint64_t round) const {
  if (format_ < kFormatWithPruning) {
    return false;
  }
  // Of a long record SQLite looks only at the length.
  Query row(database_, "SELECT LENGTH(record) + file_bytes FROM commits WHERE run = ? AND round = ?");
  TRIBUTARY_ASSIGN_OR_RETURN(const bool found, row.Int(run.number).Unsigned(round).Step());
  return found && row.GetInt(0) == 0;
}

absl::StatusOr<uint64_t> CommitTables::PrunedThrough(const RunRef& run) const {
  TRIBUTARY_ASSIGN_OR_RETURN(uint64_t last, Last(run));
  // All up to one round, and none after it.
  uint64_t pruned = 0;
  while (pruned < last) {
    const uint64_t middle = pruned + (last - pruned + 1) / 2;
    TRIBUTARY_ASSIGN_OR_RETURN(const bool is_pruned, IsPruned(run, middle));
    if (is_pruned) {
      pruned = middle;
    } else {
      last = middle - 1;
    }
  }
  return pruned;
}

absl::Status CommitTables::Prune(const RunRef& run, uint64_t last, uint64_t max_bytes) {
  TRIBUTARY_ASSIGN_OR_RETURN(const uint64_t pruned, PrunedThrough(run));
  uint64_t bytes = 0;
  for (uint64_t round = pruned + 1; round <= last && bytes < max_bytes; ++round) {
    CommitKey key;
    TRIBUTARY_ASSIGN_OR_RETURN(JournaledCommit commit, WithoutRecord(run, round, key));
    bytes += key.record_bytes + std::exchange(commit.file_bytes, 0);
    commit.file.clear();
    TRIBUTARY_RETURN_IF_ERROR(commits_.Replace({run.number, round, 0, Crc32c("")}, commit));
  }
  return absl::OkStatus();
}

absl::Status CommitTables::ReplaceAccounts(const RunRef& run, const v1::RoundRecord& round_record,
                                           const std::vector<v1::SiteStatus>& site_totals) {
  CommitKey key;
  TRIBUTARY_ASSIGN_OR_RETURN(JournaledCommit commit, WithoutRecord(run, round_record.round(), key));
  commit.round_record = round_record;
  TRIBUTARY_RETURN_IF_ERROR(
      commits_.Update(key, commit, "WHERE run = ? AND round = ?", {run.number, static_cast<int64_t>(round_record.round())}));
  return site_totals_.Replace({run.number}, {site_totals});
}

absl::StatusOr<uint64_t> CommitTables::LastIncluded(const RunRef& run, const std::string& site) const {
  // Newest first; the long records are not read. A line of `included` is a site.
  Query row(database_,
            "SELECT round FROM commits WHERE run = ? AND instr(char(10) || included, char(10) || ? || char(10)) > 0 "
            "ORDER BY round DESC LIMIT 1");
  TRIBUTARY_ASSIGN_OR_RETURN(const bool found, row.Int(run.number).Text(site).Step());
  return found ? row.GetUnsigned(0) : 0;
}

absl::StatusOr<bool> CommitTables::Next(const RunRef& run, Query& rows, CommitKey& key, JournaledCommit& commit, Part part) const {
  const auto named = [&] { return absl::StrCat("run ", run.id, ": the commit of round ", key.round); };
  TRIBUTARY_ASSIGN_OR_RETURN(const bool found, commits_.Next(rows, key, commit, named, part));
  if (found && part == Part::kWhole && Crc32c(commit.record) != key.record_crc) {
    return DamagedJournal(database_.path(), absl::StrCat(named(), " fails its checksum"));
  }
  return found;
}

absl::StatusOr<JournaledCommit> CommitTables::Commit(const RunRef& run, uint64_t round) const {
  Query row(database_, commits_.Select("WHERE run = ? AND round = ?"));
  CommitKey key;
  JournaledCommit commit;
  TRIBUTARY_ASSIGN_OR_RETURN(const bool found, Next(run, row.Int(run.number).Unsigned(round), key, commit, Part::kWhole));
  if (!found) {
    return absl::NotFoundError(absl::StrCat("run ", run.id, " has no commit of round ", round));
  }
  return commit;
}

absl::Status CommitTables::Visit(const RunRef& run, uint64_t first, uint64_t last,
                                 absl::FunctionRef<absl::Status(uint64_t round, const JournaledCommit&)> visit) const {
  TRIBUTARY_ASSIGN_OR_RETURN(const uint64_t newest, Last(run));
  if (first == 0 || last > newest) {
    return absl::NotFoundError(absl::StrCat("run ", run.id, " has commits of rounds 1 to ", newest, ", not ", first, " to ", last));
  }
  if (first > last) {
    return absl::OkStatus();
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const bool is_pruned, IsPruned(run, first));
  if (is_pruned) {
    TRIBUTARY_ASSIGN_OR_RETURN(const uint64_t pruned, PrunedThrough(run));
    return absl::NotFoundError(absl::StrCat("run ", run.id, ": the commits of rounds up to ", pruned, " are pruned, gone by log.keep"));
  }
  // What the first one continues starts from the run's layout and initial weights, which the journal does not know.
  std::optional<Digest> previous;
  if (first > 1) {
    TRIBUTARY_ASSIGN_OR_RETURN(previous, ChainHash(run, first - 1));
  }
  Query rows(database_, commits_.Select("WHERE run = ? AND round BETWEEN ? AND ? ORDER BY round"), Query::Statement::kOwn);
  rows.Int(run.number).Unsigned(first).Unsigned(last);
  for (uint64_t round = first; round <= last; ++round) {
    CommitKey key;
    JournaledCommit commit;
    TRIBUTARY_ASSIGN_OR_RETURN(const bool more, Next(run, rows, key, commit, Part::kWhole));
    if (!more || key.round != round) {
      return DamagedJournal(database_.path(), absl::StrCat("run ", run.id, " has no commit of round ", round));
    }
    if (previous.has_value() && commit.file.empty() && optim::ChainHash(*previous, commit.record) != commit.chain_hash) {
      return DamagedJournal(database_.path(),
                            absl::StrCat("run ", run.id, ": the commit of round ", round, " does not continue the one before it"));
    }
    previous = commit.chain_hash;
    TRIBUTARY_RETURN_IF_ERROR(visit(round, commit));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<CommitSummary>> CommitTables::Summaries(const RunRef& run) const {
  std::vector<CommitSummary> summaries;
  Query rows(database_, commits_.Select("WHERE run = ? ORDER BY round", Part::kWithoutLarge));
  rows.Int(run.number);
  while (true) {
    CommitKey key;
    JournaledCommit commit;
    TRIBUTARY_ASSIGN_OR_RETURN(const bool more, Next(run, rows, key, commit, Part::kWithoutLarge));
    if (!more) {
      return summaries;
    }
    summaries.push_back(
        {key.round, key.record_bytes + commit.file_bytes, commit.chain_hash, commit.state_hash, std::move(commit.round_record)});
  }
}

absl::StatusOr<std::vector<v1::SiteStatus>> CommitTables::SiteTotals(const RunRef& run) const {
  Query row(database_, site_totals_.Select("WHERE run = ?"));
  OfRun key;
  SiteTotalsRow totals;
  TRIBUTARY_RETURN_IF_ERROR(
      site_totals_.Next(row.Int(run.number), key, totals, [&run] { return absl::StrCat("run ", run.id, ": the row of site counters"); })
          .status());
  return totals.sites;
}

absl::StatusOr<Arrivals> CommitTables::LatestArrivals(const RunRef& run) const {
  Query row(database_, arrivals_.Select("WHERE run = ?"));
  OfRun key;
  ArrivalsRow latest;
  TRIBUTARY_RETURN_IF_ERROR(
      arrivals_.Next(row.Int(run.number), key, latest, [&run] { return absl::StrCat("run ", run.id, ": the row of arrivals"); }).status());
  return Arrivals{latest.plain, latest.evaluating};
}

absl::Status CommitTables::DropAfter(const RunRef& run, uint64_t round) {
  TRIBUTARY_RETURN_IF_ERROR(Query(database_, "DELETE FROM commits WHERE run = ? AND round > ?").Int(run.number).Unsigned(round).Run());
  Query left(database_, "SELECT COUNT(*) FROM commits WHERE run = ?");
  TRIBUTARY_RETURN_IF_ERROR(left.Int(run.number).Run());
  if (left.GetUnsigned(0) != round) {
    return DamagedJournal(database_.path(),
                          absl::StrCat("run ", run.id, " has only ", left.GetUnsigned(0), " commits of rounds up to ", round));
  }
  return absl::OkStatus();
}

}  // namespace tributary::coordinator
