#include "coordinator/journal/run_table.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace tributary::coordinator {

absl::Status RunTable::Load() {
  Query rows(database_, "SELECT run_id, number FROM runs");
  while (true) {
    TRIBUTARY_ASSIGN_OR_RETURN(const bool more, rows.Step());
    if (!more) {
      return absl::OkStatus();
    }
    numbers_.emplace(rows.GetBytes(0), rows.GetInt(1));
  }
}

absl::StatusOr<RunRef> RunTable::Find(const std::string& run_id) const {
  const auto found = numbers_.find(run_id);
  if (found == numbers_.end()) {
    return absl::NotFoundError(absl::StrCat("the journal has no run '", run_id, "'"));
  }
  return RunRef{found->second, run_id};
}

absl::StatusOr<int64_t> RunTable::Add(const JournaledRun& run) {
  if (numbers_.contains(run.run_id)) {
    return absl::AlreadyExistsError(absl::StrCat("the journal already has a run '", run.run_id, "'"));
  }
  RunKey key;
  {
    Query next(database_, "SELECT COALESCE(MAX(number), 0) + 1 FROM runs");
    TRIBUTARY_RETURN_IF_ERROR(next.Run());
    key.number = next.GetInt(0);
  }
  TRIBUTARY_RETURN_IF_ERROR(runs_.Insert(key, run));
  return key.number;
}

absl::StatusOr<bool> RunTable::Next(Query& rows, RunKey& key, JournaledRun& run) const {
  return runs_.Next(rows, key, run, [&key] { return absl::StrCat("the record of run number ", key.number); });
}

absl::Status RunTable::Replace(const RunRef& run, const JournaledRun& journaled) {
  RunKey key;
  key.number = run.number;
  return runs_.Update(key, journaled, "WHERE number = ?", {run.number});
}

absl::Status RunTable::SetState(const RunRef& run, v1::RunState state, absl::string_view reason, int64_t finished_unix_ms) {
  RunKey key;
  JournaledRun journaled;
  {
    Query row(database_, runs_.Select("WHERE number = ?"));
    TRIBUTARY_ASSIGN_OR_RETURN(const bool found, Next(row.Int(run.number), key, journaled));
    if (!found) {
      return DamagedJournal(database_.path(), absl::StrCat("run ", run.id, " is gone"));
    }
  }
  journaled.state = state;
  journaled.reason = std::string(reason);
  journaled.finished_unix_ms = finished_unix_ms;
  return runs_.Update(key, journaled, "WHERE number = ?", {run.number});
}

absl::StatusOr<std::vector<JournaledRun>> RunTable::All() const {
  std::vector<JournaledRun> runs;
  Query rows(database_, runs_.Select("ORDER BY number"));
  while (true) {
    RunKey key;
    JournaledRun run;
    TRIBUTARY_ASSIGN_OR_RETURN(const bool more, Next(rows, key, run));
    if (!more) {
      return runs;
    }
    runs.push_back(std::move(run));
  }
}

}  // namespace tributary::coordinator
