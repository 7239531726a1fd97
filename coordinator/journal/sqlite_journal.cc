// Runs, open rounds, updates, validation losses and snapshots. Commits: sqlite_journal_commits.cc; opening and checking:
// sqlite_journal_open.cc.
#include "coordinator/journal/sqlite_journal.h"

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "coordinator/journal/journal_rows.h"

namespace tributary::coordinator {

absl::Status SqliteJournal::AddRun(const JournaledRun& run) {
  if (numbers_.contains(run.run_id)) {
    return absl::AlreadyExistsError(absl::StrCat("the journal already has a run '", run.run_id, "'"));
  }
  int64_t number = 0;
  TRIBUTARY_RETURN_IF_ERROR(Write([&]() -> absl::Status {
    {
      Query next(*database_, "SELECT COALESCE(MAX(number), 0) + 1 FROM runs");
      TRIBUTARY_RETURN_IF_ERROR(next.Run());
      number = next.GetInt(0);
    }
    const std::string spec = run.spec.SerializeAsString();
    return Query(*database_,
                 "INSERT INTO runs(number, run_id, spec, state, reason, submitted_unix_ms, finished_unix_ms, crc) "
                 "VALUES(?, ?, ?, ?, ?, ?, ?, ?)")
        .Int(number)
        .Text(run.run_id)
        .Blob(spec)
        .Int(run.state)
        .Text(run.reason)
        .Int(run.submitted_unix_ms)
        .Int(run.finished_unix_ms)
        .Int(RunCrc(number, run.run_id, spec, run.state, run.reason, run.submitted_unix_ms, run.finished_unix_ms))
        .Run();
  }));
  numbers_.emplace(run.run_id, number);
  return absl::OkStatus();
}

absl::Status SqliteJournal::SetRunState(const std::string& run_id, v1::RunState state, absl::string_view reason, int64_t finished_unix_ms) {
  TRIBUTARY_ASSIGN_OR_RETURN(const int64_t number, Number(run_id));
  return Write([&]() -> absl::Status {
    std::string spec;
    int64_t submitted = 0;
    {
      Query row(*database_, "SELECT spec, submitted_unix_ms FROM runs WHERE number = ?");
      TRIBUTARY_ASSIGN_OR_RETURN(const bool found, row.Int(number).Step());
      if (!found) {
        return DamagedRow(absl::StrCat("run ", run_id, " is gone"));
      }
      spec = std::string(row.GetBytes(0));
      submitted = row.GetInt(1);
    }
    return Query(*database_, "UPDATE runs SET state = ?, reason = ?, finished_unix_ms = ?, crc = ? WHERE number = ?")
        .Int(state)
        .Text(reason)
        .Int(finished_unix_ms)
        .Int(RunCrc(number, run_id, spec, state, reason, submitted, finished_unix_ms))
        .Int(number)
        .Run();
  });
}

absl::StatusOr<std::vector<JournaledRun>> SqliteJournal::Runs() {
  Query rows(*database_, "SELECT number, run_id, spec, state, reason, submitted_unix_ms, finished_unix_ms, crc FROM runs ORDER BY number");
  std::vector<JournaledRun> runs;
  while (true) {
    TRIBUTARY_ASSIGN_OR_RETURN(const bool more, rows.Step());
    if (!more) {
      return runs;
    }
    JournaledRun run;
    run.run_id = std::string(rows.GetBytes(1));
    run.state = static_cast<v1::RunState>(rows.GetInt(3));
    run.reason = std::string(rows.GetBytes(4));
    run.submitted_unix_ms = rows.GetInt(5);
    run.finished_unix_ms = rows.GetInt(6);
    const int64_t crc =
        RunCrc(rows.GetInt(0), run.run_id, rows.GetBytes(2), rows.GetInt(3), run.reason, run.submitted_unix_ms, run.finished_unix_ms);
    if (crc != rows.GetInt(7) || !v1::RunState_IsValid(run.state) || !run.spec.ParseFromString(std::string(rows.GetBytes(2)))) {
      return DamagedRow(absl::StrCat("the record of run number ", rows.GetInt(0), " fails its checksum"));
    }
    runs.push_back(std::move(run));
  }
}

absl::Status SqliteJournal::StartRound(const std::string& run_id, const JournaledRound& round) {
  TRIBUTARY_ASSIGN_OR_RETURN(const int64_t run, Number(run_id));
  TRIBUTARY_ASSIGN_OR_RETURN(const std::string members, JoinSites(round.members));
  TRIBUTARY_ASSIGN_OR_RETURN(const std::optional<JournaledRound> open, OpenRound(run_id));
  return Write([&]() -> absl::Status {
    if (open.has_value() && open->round != round.round) {
      TRIBUTARY_RETURN_IF_ERROR(Query(*database_, "DELETE FROM updates WHERE run = ? AND round = ?").Int(run).Unsigned(open->round).Run());
    }
    return Query(*database_, "INSERT OR REPLACE INTO open_rounds(run, round, members, crc) VALUES(?, ?, ?, ?)")
        .Int(run)
        .Unsigned(round.round)
        .Text(members)
        .Int(OpenRoundCrc(run, round.round, members))
        .Run();
  });
}

absl::StatusOr<std::optional<JournaledRound>> SqliteJournal::OpenRound(const std::string& run_id) {
  TRIBUTARY_ASSIGN_OR_RETURN(const int64_t run, Number(run_id));
  Query row(*database_, "SELECT round, members, crc FROM open_rounds WHERE run = ?");
  TRIBUTARY_ASSIGN_OR_RETURN(const bool found, row.Int(run).Step());
  if (!found) {
    return std::nullopt;
  }
  if (OpenRoundCrc(run, row.GetUnsigned(0), row.GetBytes(1)) != row.GetInt(2)) {
    return DamagedRow(absl::StrCat("the open round of run ", run_id, " fails its checksum"));
  }
  return JournaledRound{row.GetUnsigned(0), SplitSites(row.GetBytes(1))};
}

absl::Status SqliteJournal::AddUpdate(const std::string& run_id, uint64_t round, const JournaledUpdate& update) {
  TRIBUTARY_ASSIGN_OR_RETURN(const int64_t run, Number(run_id));
  TRIBUTARY_RETURN_IF_ERROR(JoinSites({update.site}).status());
  {
    Query row(*database_, "SELECT payload FROM updates WHERE run = ? AND round = ? AND site = ?");
    TRIBUTARY_ASSIGN_OR_RETURN(const bool found, row.Int(run).Unsigned(round).Text(update.site).Step());
    if (found) {
      return row.GetBytes(0) == update.payload ? absl::OkStatus()
                                               : absl::AlreadyExistsError(absl::StrCat("run ", run_id, ", round ", round, ": site ",
                                                                                       update.site, " has sent another update before"));
    }
  }
  const std::string report = update.report.SerializeAsString();
  return Write([&] {
    return Query(*database_, "INSERT INTO updates(run, round, site, report, crc, payload) VALUES(?, ?, ?, ?, ?, ?)")
        .Int(run)
        .Unsigned(round)
        .Text(update.site)
        .Blob(report)
        .Int(UpdateCrc(run, round, update.site, report, update.payload))
        .Blob(update.payload)
        .Run();
  });
}

absl::Status SqliteJournal::VisitUpdates(const std::string& run_id, uint64_t round,
                                         const std::function<absl::Status(const JournaledUpdate&)>& visit) {
  TRIBUTARY_ASSIGN_OR_RETURN(const int64_t run, Number(run_id));
  // Only the numbers are sorted: SQLite's sorter would hold, or write to a temporary file, every payload that it is given.
  std::vector<int64_t> numbers;
  {
    Query rows(*database_, "SELECT number FROM updates WHERE run = ? AND round = ? ORDER BY number");
    rows.Int(run).Unsigned(round);
    while (true) {
      TRIBUTARY_ASSIGN_OR_RETURN(const bool more, rows.Step());
      if (!more) {
        break;
      }
      numbers.push_back(rows.GetInt(0));
    }
  }
  for (const int64_t number : numbers) {
    JournaledUpdate update;
    {
      Query row(*database_, "SELECT site, report, crc, payload FROM updates WHERE number = ?");
      TRIBUTARY_ASSIGN_OR_RETURN(const bool found, row.Int(number).Step());
      if (found) {
        update.site = std::string(row.GetBytes(0));
        update.payload = std::string(row.GetBytes(3));
      }
      if (!found || UpdateCrc(run, round, update.site, row.GetBytes(1), update.payload) != row.GetInt(2) ||
          !update.report.ParseFromString(std::string(row.GetBytes(1)))) {
        return DamagedRow(absl::StrCat("run ", run_id, ", round ", round, ": the update of a site fails its checksum"));
      }
    }
    TRIBUTARY_RETURN_IF_ERROR(visit(update));
  }
  return absl::OkStatus();
}

absl::Status SqliteJournal::SetValidationLoss(const std::string& run_id, uint64_t round, double loss) {
  TRIBUTARY_ASSIGN_OR_RETURN(const int64_t run, Number(run_id));
  return Write([&] {
    return Query(*database_, "INSERT OR REPLACE INTO validation_losses(run, round, loss, crc) VALUES(?, ?, ?, ?)")
        .Int(run)
        .Unsigned(round)
        .Real(loss)
        .Int(ValidationLossCrc(run, round, loss))
        .Run();
  });
}

absl::StatusOr<std::map<uint64_t, double>> SqliteJournal::ValidationLosses(const std::string& run_id) {
  TRIBUTARY_ASSIGN_OR_RETURN(const int64_t run, Number(run_id));
  Query rows(*database_, "SELECT round, loss, crc FROM validation_losses WHERE run = ?");
  rows.Int(run);
  std::map<uint64_t, double> losses;
  while (true) {
    TRIBUTARY_ASSIGN_OR_RETURN(const bool more, rows.Step());
    if (!more) {
      return losses;
    }
    if (ValidationLossCrc(run, rows.GetUnsigned(0), rows.GetReal(1)) != rows.GetInt(2)) {
      return DamagedRow(absl::StrCat("run ", run_id, ": a validation loss fails its checksum"));
    }
    losses.emplace(rows.GetUnsigned(0), rows.GetReal(1));
  }
}

absl::Status SqliteJournal::AddSnapshot(const std::string& run_id, const JournaledSnapshot& snapshot) {
  TRIBUTARY_ASSIGN_OR_RETURN(const int64_t run, Number(run_id));
  return Write([&] { return InsertSnapshot(run, snapshot); });
}

absl::Status SqliteJournal::InsertSnapshot(int64_t run, const JournaledSnapshot& snapshot) {
  TRIBUTARY_RETURN_IF_ERROR(Query(*database_,
                                  "INSERT OR REPLACE INTO snapshots(run, round, file, state_hash, aggregator_file, aggregator_hash, crc) "
                                  "VALUES(?, ?, ?, ?, ?, ?, ?)")
                                .Int(run)
                                .Unsigned(snapshot.round)
                                .Text(snapshot.file)
                                .Blob(BytesOf(snapshot.state_hash))
                                .Text(snapshot.aggregator_file)
                                .Blob(BytesOf(snapshot.aggregator_hash))
                                .Int(SnapshotCrc(run, snapshot.round, snapshot.file, BytesOf(snapshot.state_hash), snapshot.aggregator_file,
                                                 BytesOf(snapshot.aggregator_hash)))
                                .Run());
  return Query(*database_, "DELETE FROM updates WHERE run = ? AND round <= ?").Int(run).Unsigned(snapshot.round).Run();
}

absl::Status SqliteJournal::RemoveSnapshot(const std::string& run_id, uint64_t round) {
  TRIBUTARY_ASSIGN_OR_RETURN(const int64_t run, Number(run_id));
  return Write([&] { return Query(*database_, "DELETE FROM snapshots WHERE run = ? AND round = ?").Int(run).Unsigned(round).Run(); });
}

absl::StatusOr<std::vector<JournaledSnapshot>> SqliteJournal::Snapshots(const std::string& run_id) {
  TRIBUTARY_ASSIGN_OR_RETURN(const int64_t run, Number(run_id));
  Query rows(*database_,
             "SELECT round, file, state_hash, aggregator_file, aggregator_hash, crc FROM snapshots WHERE run = ? ORDER BY round");
  rows.Int(run);
  std::vector<JournaledSnapshot> snapshots;
  while (true) {
    TRIBUTARY_ASSIGN_OR_RETURN(const bool more, rows.Step());
    if (!more) {
      return snapshots;
    }
    JournaledSnapshot snapshot;
    snapshot.round = rows.GetUnsigned(0);
    snapshot.file = std::string(rows.GetBytes(1));
    snapshot.aggregator_file = std::string(rows.GetBytes(3));
    if (SnapshotCrc(run, snapshot.round, snapshot.file, rows.GetBytes(2), snapshot.aggregator_file, rows.GetBytes(4)) != rows.GetInt(5) ||
        !ToDigest(rows.GetBytes(2), snapshot.state_hash) || !ToDigest(rows.GetBytes(4), snapshot.aggregator_hash)) {
      return DamagedRow(absl::StrCat("run ", run_id, ": the record of snapshot ", snapshot.round, " fails its checksum"));
    }
    snapshots.push_back(std::move(snapshot));
  }
}

}  // namespace tributary::coordinator
