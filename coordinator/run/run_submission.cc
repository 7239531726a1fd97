#include "coordinator/run/run_submission.h"

#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "common/log.h"
#include "common/status_macros.h"
#include "optim/snapshot.h"
#include "optim/state_hash.h"

namespace tributary::coordinator {

RunSubmission::RunSubmission(JournaledRun run, RunModel model, SharedBytes weights, std::vector<std::string> warnings, SnapshotStore* store)
    : run_(std::move(run)),
      model_(std::move(model)),
      weights_(std::move(weights)),
      warnings_(std::move(warnings)),
      store_(store),
      file_(SnapshotStore::SnapshotFile(run_.run_id, 0)) {}

std::string NewRunId(const std::string& name, int64_t unix_ms, size_t others) {
  return absl::StrCat(name, "-", DigestHex(Sha256(absl::StrCat(name, " ", unix_ms, " ", others))).substr(0, 8));
}

absl::Status CheckKeepsMetrics(const v1::RunSpec& spec, const Journal& journal) {
  if (spec.evaluation().metrics().empty() || journal.KeepsMetrics()) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(
      "evaluation.metrics: the coordinator's journal is of an older format, which has no place for metrics; with the coordinator stopped, "
      "`tributary journal upgrade DATA_DIR` gives it one. Or submit the run without them");
}

std::vector<std::string> WarningsOf(const RunModel& model, uint64_t max_update, uint64_t sites) {
  std::vector<std::string> warnings;
  if (model.max_payload > max_update) {
    warnings.push_back(absl::StrCat("an update may take ", model.max_payload, " bytes, but max_update is ", max_update));
  }
  if (const uint64_t members = model.spec.participation().max_workers(); model.spec.has_stop_when() && members < sites) {
    warnings.push_back(absl::StrCat("stop_when compares the evaluations of rounds with different members, ", members, " of ", sites,
                                    " sites in turn (participation.max_workers): what looks better or worse may be another site's data"));
  }
  return warnings;
}

absl::StatusOr<std::shared_ptr<RunSubmission>> RunSubmission::Create(JournaledRun run, RunModel model, SharedBytes weights,
                                                                     std::vector<std::string> warnings, SnapshotStore* store) {
  auto submission = absl::WrapUnique(new RunSubmission(std::move(run), std::move(model), std::move(weights), std::move(warnings), store));
  TRIBUTARY_ASSIGN_OR_RETURN(submission->writer_, store->Create(submission->file_));
  return std::shared_ptr<RunSubmission>(std::move(submission));
}

RunSubmission::~RunSubmission() {
  writer_.reset();
  if (taken_) {
    return;
  }
  if (const absl::Status removed = store_->Remove(file_); !removed.ok()) {
    LogWarning("coordinator", removed.message(), "; the next start removes it");
  }
}

absl::Status RunSubmission::Prepare() {
  TRIBUTARY_ASSIGN_OR_RETURN(const optim::ReplicaState state, MakeInitialState(model_, weights_.get()));
  state_hash_ = optim::StateHash(model_.layout, state, model_.threads);
  // Not the end of the coordinator if this fails: nothing was promised yet.
  const absl::Status written =
      optim::WriteSnapshot(model_.layout, state, [this](absl::string_view piece) { return writer_->Append(piece); });
  return Annotate(written.ok() ? writer_->Finish() : written, "the run could not be stored");
}

JournaledSnapshot RunSubmission::Take() {
  taken_ = true;
  JournaledSnapshot snapshot;
  snapshot.round = 0;
  snapshot.state_hash = state_hash_;
  snapshot.file = file_;
  return snapshot;
}

}  // namespace tributary::coordinator
