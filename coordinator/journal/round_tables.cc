#include "coordinator/journal/round_tables.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace tributary::coordinator {

absl::Status RoundTables::Start(const RunRef& run, const JournaledRound& round) {
  TRIBUTARY_RETURN_IF_ERROR(CheckSiteNames(round.members));
  TRIBUTARY_ASSIGN_OR_RETURN(const std::optional<JournaledRound> open, Open(run));
  if (open.has_value() && open->round != round.round) {
    TRIBUTARY_RETURN_IF_ERROR(
        Query(database_, "DELETE FROM updates WHERE run = ? AND round = ?").Int(run.number).Unsigned(open->round).Run());
  }
  return open_rounds_.Replace({run.number}, round);
}

absl::Status RoundTables::Close(const RunRef& run) {
  return Query(database_, "DELETE FROM open_rounds WHERE run = ?").Int(run.number).Run();
}

absl::StatusOr<std::optional<JournaledRound>> RoundTables::Open(const RunRef& run) const {
  Query row(database_, open_rounds_.Select("WHERE run = ?"));
  OfRun key;
  JournaledRound round;
  TRIBUTARY_ASSIGN_OR_RETURN(const bool found, open_rounds_.Next(row.Int(run.number), key, round,
                                                                 [&run] { return absl::StrCat("the open round of run ", run.id); }));
  return found ? std::optional(round) : std::nullopt;
}

absl::StatusOr<bool> RoundTables::HasUpdate(const RunRef& run, uint64_t round, const JournaledUpdate& update) const {
  Query row(database_, updates_.Select("WHERE run = ? AND round = ? AND site = ?"));
  UpdateKey key;
  JournaledUpdate held;
  TRIBUTARY_ASSIGN_OR_RETURN(const bool found, updates_.Next(row.Int(run.number).Unsigned(round).Text(update.site), key, held, [&] {
    return absl::StrCat("run ", run.id, ", round ", round, ": the update of a site");
  }));
  if (found && (held.payload != update.payload || held.file_digest != update.file_digest)) {
    return absl::AlreadyExistsError(
        absl::StrCat("run ", run.id, ", round ", round, ": site ", update.site, " has sent another update before"));
  }
  return found;
}

absl::Status RoundTables::AddUpdate(const RunRef& run, uint64_t round, const JournaledUpdate& update) {
  TRIBUTARY_RETURN_IF_ERROR(CheckSiteNames({update.site}));
  return updates_.Insert({std::nullopt, run.number, round}, update);
}

absl::Status RoundTables::VisitUpdates(const RunRef& run, uint64_t round,
                                       absl::FunctionRef<absl::Status(const JournaledUpdate&)> visit) const {
  // Only the numbers are sorted: SQLite's sorter would hold, or write to a temporary file, every payload that it is given.
  std::vector<int64_t> numbers;
  {
    Query rows(database_, "SELECT number FROM updates WHERE run = ? AND round = ? ORDER BY number");
    rows.Int(run.number).Unsigned(round);
    while (true) {
      TRIBUTARY_ASSIGN_OR_RETURN(const bool more, rows.Step());
      if (!more) {
        break;
      }
      numbers.push_back(rows.GetInt(0));
    }
  }
  const auto named = [&] { return absl::StrCat("run ", run.id, ", round ", round, ": the update of a site"); };
  for (const int64_t number : numbers) {
    JournaledUpdate update;
    {
      Query row(database_, updates_.Select("WHERE number = ?"));
      UpdateKey key;
      TRIBUTARY_ASSIGN_OR_RETURN(const bool found, updates_.Next(row.Int(number), key, update, named));
      if (!found || key.run != run.number || key.round != round) {
        return DamagedJournal(database_.path(), absl::StrCat(named(), " fails its checksum"));
      }
    }
    TRIBUTARY_RETURN_IF_ERROR(visit(update));
  }
  return absl::OkStatus();
}

absl::Status RoundTables::PruneUpdates(const RunRef& run, uint64_t last_round) {
  return Query(database_, "DELETE FROM updates WHERE run = ? AND round <= ?").Int(run.number).Unsigned(last_round).Run();
}

absl::Status RoundTables::DropAfter(const RunRef& run, uint64_t round) {
  TRIBUTARY_RETURN_IF_ERROR(Query(database_, "DELETE FROM updates WHERE run = ? AND round > ?").Int(run.number).Unsigned(round).Run());
  return Close(run);
}

}  // namespace tributary::coordinator
