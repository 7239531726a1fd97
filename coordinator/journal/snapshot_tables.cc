#include "coordinator/journal/snapshot_tables.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace tributary::coordinator {

absl::Status SnapshotTables::Remove(const RunRef& run, uint64_t round) {
  return Query(database_, "DELETE FROM snapshots WHERE run = ? AND round = ?").Int(run.number).Unsigned(round).Run();
}

absl::StatusOr<std::vector<JournaledSnapshot>> SnapshotTables::All(const RunRef& run) const {
  std::vector<JournaledSnapshot> snapshots;
  Query rows(database_, snapshots_.Select("WHERE run = ? ORDER BY round"));
  rows.Int(run.number);
  while (true) {
    OfRun key;
    JournaledSnapshot snapshot;
    TRIBUTARY_ASSIGN_OR_RETURN(const bool more, snapshots_.Next(rows, key, snapshot, [&] {
      return absl::StrCat("run ", run.id, ": the record of snapshot ", snapshot.round);
    }));
    if (!more) {
      return snapshots;
    }
    snapshots.push_back(std::move(snapshot));
  }
}

absl::StatusOr<JournaledEvaluations> SnapshotTables::Evaluations(const RunRef& run) const {
  JournaledEvaluations evaluations;
  Query rows(database_, evaluations_.Select("WHERE run = ?"));
  rows.Int(run.number);
  while (true) {
    OfRun key;
    EvaluationRow row;
    TRIBUTARY_ASSIGN_OR_RETURN(const bool more,
                               evaluations_.Next(rows, key, row, [&run] { return absl::StrCat("run ", run.id, ": a validation loss"); }));
    if (!more) {
      return evaluations;
    }
    evaluations[row.round] = {row.loss, std::move(row.metrics)};
  }
}

absl::Status SnapshotTables::DropAfter(const RunRef& run, uint64_t round) {
  TRIBUTARY_RETURN_IF_ERROR(Query(database_, "DELETE FROM snapshots WHERE run = ? AND round > ?").Int(run.number).Unsigned(round).Run());
  return Query(database_, "DELETE FROM validation_losses WHERE run = ? AND round > ?").Int(run.number).Unsigned(round).Run();
}

}  // namespace tributary::coordinator
