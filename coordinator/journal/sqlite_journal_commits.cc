// The log of commits, with the accounts that stand beside it.
#include "absl/strings/str_cat.h"
#include "common/checksum.h"
#include "common/status_macros.h"
#include "coordinator/journal/journal_rows.h"
#include "coordinator/journal/sqlite_journal.h"
#include "optim/commit.h"

namespace tributary::coordinator {

std::string SqliteJournal::RunNamed(int64_t number) const {
  for (const auto& [name, candidate] : numbers_) {
    if (candidate == number) {
      return name;
    }
  }
  return absl::StrCat("number ", number);
}

absl::StatusOr<uint64_t> SqliteJournal::LastCommitOf(int64_t run) {
  Query row(*database_, "SELECT COALESCE(MAX(round), 0) FROM commits WHERE run = ?");
  TRIBUTARY_RETURN_IF_ERROR(row.Int(run).Run());
  return row.GetUnsigned(0);
}

absl::StatusOr<std::string> SqliteJournal::ChainHashOf(int64_t run, uint64_t round) {
  Query row(*database_, "SELECT chain_hash FROM commits WHERE run = ? AND round = ?");
  TRIBUTARY_ASSIGN_OR_RETURN(const bool found, row.Int(run).Unsigned(round).Step());
  if (!found || row.GetBytes(0).size() != optim::Digest().size()) {
    return DamagedRow(absl::StrCat("run ", RunNamed(run), ": the commit of round ", round, " is gone"));
  }
  return std::string(row.GetBytes(0));
}

absl::Status SqliteJournal::WriteSiteTotals(int64_t run, const std::vector<v1::SiteStatus>& site_totals) {
  const std::string sites = SerializeSites(site_totals);
  return Query(*database_, "INSERT OR REPLACE INTO site_totals(run, sites, crc) VALUES(?, ?, ?)")
      .Int(run)
      .Blob(sites)
      .Int(SiteTotalsCrc(run, sites))
      .Run();
}

absl::Status SqliteJournal::WriteArrivals(int64_t run, const Arrivals& arrivals) {
  const std::string plain = PackDurations(arrivals[0]);
  const std::string evaluating = PackDurations(arrivals[1]);
  return Query(*database_, "INSERT OR REPLACE INTO arrivals(run, plain, evaluating, crc) VALUES(?, ?, ?, ?)")
      .Int(run)
      .Blob(plain)
      .Blob(evaluating)
      .Int(ArrivalsCrc(run, plain, evaluating))
      .Run();
}

absl::StatusOr<Arrivals> SqliteJournal::LatestArrivals(const std::string& run_id) {
  TRIBUTARY_ASSIGN_OR_RETURN(const int64_t run, Number(run_id));
  Query row(*database_, "SELECT plain, evaluating, crc FROM arrivals WHERE run = ?");
  TRIBUTARY_ASSIGN_OR_RETURN(const bool found, row.Int(run).Step());
  if (!found) {
    return Arrivals();
  }
  if (ArrivalsCrc(run, row.GetBytes(0), row.GetBytes(1)) != row.GetInt(2)) {
    return DamagedRow(absl::StrCat("the arrivals of run ", run_id, " fail their checksum"));
  }
  return Arrivals{UnpackDurations(row.GetBytes(0)), UnpackDurations(row.GetBytes(1))};
}

absl::Status SqliteJournal::AddCommit(const std::string& run_id, uint64_t round, const JournaledCommit& commit) {
  TRIBUTARY_ASSIGN_OR_RETURN(const int64_t run, Number(run_id));
  TRIBUTARY_ASSIGN_OR_RETURN(const std::string included, JoinSites(commit.included));
  TRIBUTARY_ASSIGN_OR_RETURN(const uint64_t last, LastCommitOf(run));
  if (round != last + 1) {
    return absl::FailedPreconditionError(absl::StrCat("run ", run_id, ": commit of round ", round, " after that of round ", last));
  }
  if (last > 0) {
    // A log that does not continue itself would be refused at the next start; better now, while the round can still fail by itself.
    TRIBUTARY_ASSIGN_OR_RETURN(const std::string bytes, ChainHashOf(run, last));
    optim::Digest previous{};
    ToDigest(bytes, previous);
    if (optim::ChainHash(previous, commit.record) != commit.chain_hash) {
      return absl::InternalError(absl::StrCat("run ", run_id, ", round ", round, ": the chain hash does not continue the log"));
    }
  }
  const std::string round_record = commit.round_record.SerializeAsString();
  const int64_t record_crc = Crc32c(commit.record);
  return Write([&]() -> absl::Status {
    TRIBUTARY_RETURN_IF_ERROR(
        Query(*database_,
              "INSERT INTO commits(run, round, chain_hash, state_hash, round_record, included, crc, record_crc, record) "
              "VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)")
            .Int(run)
            .Unsigned(round)
            .Blob(BytesOf(commit.chain_hash))
            .Blob(BytesOf(commit.state_hash))
            .Blob(round_record)
            .Text(included)
            .Int(CommitCrc(run, round, BytesOf(commit.chain_hash), BytesOf(commit.state_hash), round_record, included, commit.record.size(),
                           record_crc))
            .Int(record_crc)
            .Blob(commit.record)
            .Run());
    TRIBUTARY_RETURN_IF_ERROR(WriteSiteTotals(run, commit.site_totals));
    TRIBUTARY_RETURN_IF_ERROR(WriteArrivals(run, commit.arrivals));
    return Query(*database_, "DELETE FROM open_rounds WHERE run = ?").Int(run).Run();
  });
}

absl::StatusOr<uint64_t> SqliteJournal::LastCommit(const std::string& run_id) {
  TRIBUTARY_ASSIGN_OR_RETURN(const int64_t run, Number(run_id));
  return LastCommitOf(run);
}

absl::StatusOr<uint64_t> SqliteJournal::LastIncluded(const std::string& run_id, const std::string& site) {
  TRIBUTARY_ASSIGN_OR_RETURN(const int64_t run, Number(run_id));
  // Newest first; the long records are not read. A line of `included` is a site (JoinSites).
  Query row(*database_,
            "SELECT round FROM commits WHERE run = ? AND instr(char(10) || included, char(10) || ? || char(10)) > 0 "
            "ORDER BY round DESC LIMIT 1");
  TRIBUTARY_ASSIGN_OR_RETURN(const bool found, row.Int(run).Text(site).Step());
  return found ? row.GetUnsigned(0) : 0;
}

absl::StatusOr<JournaledCommit> SqliteJournal::ReadCommit(int64_t run, const Query& row) const {
  const uint64_t round = row.GetUnsigned(0);
  JournaledCommit commit;
  commit.record = std::string(row.GetBytes(7));
  const int64_t record_crc = Crc32c(commit.record);
  const int64_t crc =
      CommitCrc(run, round, row.GetBytes(1), row.GetBytes(2), row.GetBytes(3), row.GetBytes(4), commit.record.size(), record_crc);
  if (record_crc != row.GetInt(6) || crc != row.GetInt(5) || !ToDigest(row.GetBytes(1), commit.chain_hash) ||
      !ToDigest(row.GetBytes(2), commit.state_hash) || !commit.round_record.ParseFromString(std::string(row.GetBytes(3)))) {
    return DamagedRow(absl::StrCat("run ", RunNamed(run), ": the commit of round ", round, " fails its checksum"));
  }
  commit.included = SplitSites(row.GetBytes(4));
  return commit;
}

absl::StatusOr<JournaledCommit> SqliteJournal::Commit(const std::string& run_id, uint64_t round) {
  TRIBUTARY_ASSIGN_OR_RETURN(const int64_t run, Number(run_id));
  Query row(*database_,
            "SELECT round, chain_hash, state_hash, round_record, included, crc, record_crc, record FROM commits "
            "WHERE run = ? AND round = ?");
  TRIBUTARY_ASSIGN_OR_RETURN(const bool found, row.Int(run).Unsigned(round).Step());
  if (!found) {
    return absl::NotFoundError(absl::StrCat("run ", run_id, " has no commit of round ", round));
  }
  return ReadCommit(run, row);
}

absl::Status SqliteJournal::VisitCommits(const std::string& run_id, uint64_t first, uint64_t last,
                                         const std::function<absl::Status(uint64_t, const JournaledCommit&)>& visit) {
  TRIBUTARY_ASSIGN_OR_RETURN(const int64_t run, Number(run_id));
  TRIBUTARY_ASSIGN_OR_RETURN(const uint64_t newest, LastCommitOf(run));
  if (first == 0 || last > newest) {
    return absl::NotFoundError(absl::StrCat("run ", run_id, " has commits of rounds 1 to ", newest, ", not ", first, " to ", last));
  }
  if (first > last) {
    return absl::OkStatus();
  }
  // What the first one continues starts from the run's layout and initial weights, which the journal does not know.
  std::optional<optim::Digest> previous;
  if (first > 1) {
    TRIBUTARY_ASSIGN_OR_RETURN(const std::string bytes, ChainHashOf(run, first - 1));
    ToDigest(bytes, previous.emplace());
  }
  Query rows(*database_,
             "SELECT round, chain_hash, state_hash, round_record, included, crc, record_crc, record FROM commits "
             "WHERE run = ? AND round BETWEEN ? AND ? ORDER BY round",
             nullptr);
  rows.Int(run).Unsigned(first).Unsigned(last);
  for (uint64_t round = first; round <= last; ++round) {
    TRIBUTARY_ASSIGN_OR_RETURN(const bool more, rows.Step());
    if (!more || rows.GetUnsigned(0) != round) {
      return DamagedRow(absl::StrCat("run ", run_id, " has no commit of round ", round));
    }
    TRIBUTARY_ASSIGN_OR_RETURN(const JournaledCommit commit, ReadCommit(run, rows));
    if (previous.has_value() && optim::ChainHash(*previous, commit.record) != commit.chain_hash) {
      return DamagedRow(absl::StrCat("run ", run_id, ": the commit of round ", round, " does not continue the one before it"));
    }
    previous = commit.chain_hash;
    TRIBUTARY_RETURN_IF_ERROR(visit(round, commit));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<CommitSummary>> SqliteJournal::CommitSummaries(const std::string& run_id) {
  TRIBUTARY_ASSIGN_OR_RETURN(const int64_t run, Number(run_id));
  Query rows(*database_,
             "SELECT round, chain_hash, state_hash, round_record, included, crc, record_crc, LENGTH(record) FROM commits "
             "WHERE run = ? ORDER BY round");
  rows.Int(run);
  std::vector<CommitSummary> summaries;
  while (true) {
    TRIBUTARY_ASSIGN_OR_RETURN(const bool more, rows.Step());
    if (!more) {
      return summaries;
    }
    CommitSummary summary;
    summary.round = rows.GetUnsigned(0);
    summary.record_bytes = rows.GetUnsigned(7);
    const int64_t crc = CommitCrc(run, summary.round, rows.GetBytes(1), rows.GetBytes(2), rows.GetBytes(3), rows.GetBytes(4),
                                  summary.record_bytes, rows.GetInt(6));
    if (crc != rows.GetInt(5) || !ToDigest(rows.GetBytes(1), summary.chain_hash) || !ToDigest(rows.GetBytes(2), summary.state_hash) ||
        !summary.round_record.ParseFromString(std::string(rows.GetBytes(3)))) {
      return DamagedRow(absl::StrCat("run ", run_id, ": the commit of round ", summary.round, " fails its checksum"));
    }
    summaries.push_back(std::move(summary));
  }
}

absl::StatusOr<std::vector<v1::SiteStatus>> SqliteJournal::SiteTotals(const std::string& run_id) {
  TRIBUTARY_ASSIGN_OR_RETURN(const int64_t run, Number(run_id));
  Query row(*database_, "SELECT sites, crc FROM site_totals WHERE run = ?");
  TRIBUTARY_ASSIGN_OR_RETURN(const bool found, row.Int(run).Step());
  if (!found) {
    return std::vector<v1::SiteStatus>();
  }
  v1::RunStatus holder;
  if (SiteTotalsCrc(run, row.GetBytes(0)) != row.GetInt(1) || !holder.ParseFromString(std::string(row.GetBytes(0)))) {
    return DamagedRow(absl::StrCat("the site counters of run ", run_id, " fail their checksum"));
  }
  return std::vector<v1::SiteStatus>(holder.sites().begin(), holder.sites().end());
}

absl::Status SqliteJournal::ReplaceAccounts(const std::string& run_id, const v1::RoundRecord& round_record,
                                            const std::vector<v1::SiteStatus>& site_totals) {
  TRIBUTARY_ASSIGN_OR_RETURN(const int64_t run, Number(run_id));
  TRIBUTARY_ASSIGN_OR_RETURN(const uint64_t last, LastCommitOf(run));
  if (last == 0 || round_record.round() != last) {
    return absl::FailedPreconditionError(
        absl::StrCat("run ", run_id, ": accounts of round ", round_record.round(), ", but the newest commit is of round ", last));
  }
  const std::string bytes = round_record.SerializeAsString();
  return Write([&]() -> absl::Status {
    int64_t crc = 0;
    {
      Query row(*database_, "SELECT chain_hash, state_hash, included, LENGTH(record), record_crc FROM commits WHERE run = ? AND round = ?");
      TRIBUTARY_ASSIGN_OR_RETURN(const bool found, row.Int(run).Unsigned(last).Step());
      if (!found) {
        return DamagedRow(absl::StrCat("run ", run_id, ": the commit of round ", last, " is gone"));
      }
      crc = CommitCrc(run, last, row.GetBytes(0), row.GetBytes(1), bytes, row.GetBytes(2), row.GetUnsigned(3), row.GetInt(4));
    }
    TRIBUTARY_RETURN_IF_ERROR(Query(*database_, "UPDATE commits SET round_record = ?, crc = ? WHERE run = ? AND round = ?")
                                  .Blob(bytes)
                                  .Int(crc)
                                  .Int(run)
                                  .Unsigned(last)
                                  .Run());
    return WriteSiteTotals(run, site_totals);
  });
}

}  // namespace tributary::coordinator
