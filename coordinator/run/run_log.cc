#include "coordinator/run/run_log.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/checksum.h"
#include "common/cpu_limits.h"
#include "common/exit_codes.h"
#include "common/status_macros.h"
#include "coordinator/run/log_keeping.h"
#include "optim/commit.h"
#include "optim/encoder.h"
#include "optim/parallel.h"
#include "optim/snapshot.h"
#include "optim/weights_file.h"
#include "proto/config/run_options.h"

namespace tributary::coordinator {

absl::Status DamagedLog(absl::string_view message) {
  return WithExitCode(absl::DataLossError(absl::StrCat(message, "; restore the coordinator's data folder from a backup")),
                      ExitCode::kDamaged);
}

absl::Status DamagedLog(const absl::Status& found, absl::string_view message) {
  return ExitCodeOf(found) == ExitCode::kStorage ? found : DamagedLog(message);
}

absl::StatusOr<RunModel> RunModel::Of(const v1::RunSpec& spec) {
  RunModel model;
  model.spec = spec;
  TRIBUTARY_ASSIGN_OR_RETURN(model.model, ModelSpecOf(spec));
  TRIBUTARY_ASSIGN_OR_RETURN(model.options, OptimizerOptionsOf(spec));
  TRIBUTARY_ASSIGN_OR_RETURN(model.in_force, OptimizerInForce(spec));
  TRIBUTARY_ASSIGN_OR_RETURN(model.layout, optim::MakeLayout(model.model));
  model.max_payload = optim::MaxPayloadBytes(model.options, model.layout).update;
  model.threads = optim::UsefulThreads(model.layout.size(), UsableCores());
  return model;
}

uint64_t RunModel::SnapshotBytes() const {
  return static_cast<uint64_t>(layout.size()) * sizeof(float) * (1 + optim::SlotCount(options.mode)) + 128;
}

std::string InitialWeightsFolder(const v1::CoordinatorConfig& config) {
  return config.initial_weights_dir().empty() ? config.data_dir() + "/initial_weights" : config.initial_weights_dir();
}

absl::StatusOr<SharedBytes> OpenInitialWeights(const RunModel& model, const std::string& folder) {
  const std::string& name = model.spec.model().initial_weights();
  if (name.empty()) {
    return SharedBytes();
  }
  absl::StatusOr<SharedBytes> file = optim::OpenWeights(folder, name);
  if (!file.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("model.initial_weights: ", file.status().message(), " (in the coordinator's initial_weights_dir)"));
  }
  return file;
}

absl::StatusOr<optim::ReplicaState> MakeInitialState(const RunModel& model, const StoredBytes* weights) {
  if (weights != nullptr) {
    absl::StatusOr<std::vector<float>> theta = optim::ReadWeights(*weights, model.layout);
    if (!theta.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("model.initial_weights: ", model.spec.model().initial_weights(), " ", theta.status().message()));
    }
    return optim::InitialState(model.options, model.layout, *std::move(theta));
  }
  std::vector<float> theta(model.layout.size());
  TRIBUTARY_RETURN_IF_ERROR(optim::InitializeWeights(model.model, model.spec.seed(), model.layout, absl::MakeSpan(theta)));
  return optim::InitialState(model.options, model.layout, std::move(theta));
}

Digest ChainStart(const optim::Layout& layout, const Digest& initial_state_hash) {
  return optim::ChainHash(layout.hash(), DigestBytes(initial_state_hash));
}

absl::Status ReplayCommit(const RunModel& model, uint64_t round, const StoredBytes& record, optim::ReplicaState& state) {
  const std::string place = absl::StrCat("journal: run ", model.spec.name(), ", commit ", round);
  const absl::StatusOr<optim::CommitHead> head = optim::DecodeCommitHead(record);
  if (!head.ok()) {
    return DamagedLog(head.status(), absl::StrCat(place, ": ", head.status().message()));
  }
  if (head->round != round) {
    return DamagedLog(absl::StrCat(place, ": its record is for round ", head->round));
  }
  if (const absl::Status applied = optim::ApplyRecord(model.options, model.layout, record, state, model.threads); !applied.ok()) {
    return DamagedLog(applied, absl::StrCat(place, ": ", applied.message()));
  }
  return absl::OkStatus();
}

absl::StatusOr<SharedBytes> RecordOf(const SnapshotStore& store, const JournaledCommit& commit, SnapshotStore::Readable readable) {
  if (commit.file.empty()) {
    return InMemory(commit.record);
  }
  TRIBUTARY_ASSIGN_OR_RETURN(SharedBytes record, store.Open(commit.file, readable));
  if (record->size() != commit.file_bytes) {
    return DamagedLog(absl::StrCat(store.PathOf(commit.file), " has ", record->size(), " bytes; the journal names ", commit.file_bytes));
  }
  return record;
}

absl::Status CheckState(const RunModel& model, const optim::ReplicaState& state, const Digest& journaled) {
  if (const Digest hash = optim::StateHash(model.layout, state, model.threads); hash != journaled) {
    return DamagedLog(absl::StrCat("journal: run ", model.spec.name(), ": its commits lead to state ", DigestHex(hash), " in round ",
                                   state.round, ", but it records ", DigestHex(journaled)));
  }
  return absl::OkStatus();
}

absl::StatusOr<SharedBytes> SumUpdate(const RunModel& model, const SnapshotStore& store, const JournaledUpdate& update,
                                      optim::Aggregator& aggregator, std::optional<double> norm) {
  TRIBUTARY_ASSIGN_OR_RETURN(const uint32_t weight, optim::WeightOf(model.options, update.report.samples()));
  if (update.file.empty()) {
    TRIBUTARY_RETURN_IF_ERROR(aggregator.Add(update.payload, weight, update.site));
    return nullptr;
  }
  TRIBUTARY_ASSIGN_OR_RETURN(SharedBytes payload, store.Open(update.file));
  TRIBUTARY_RETURN_IF_ERROR(aggregator.AddStored(payload, weight, norm, update.site));
  return payload;
}

absl::StatusOr<optim::ReplicaState> LoadSnapshot(const RunModel& model, const SnapshotStore& store, const JournaledSnapshot& snapshot) {
  TRIBUTARY_ASSIGN_OR_RETURN(const SharedBytes bytes, store.Open(snapshot.file));
  absl::StatusOr<optim::ReplicaState> state = optim::ReadSnapshot(*bytes, model.layout, optim::SlotCount(model.options.mode));
  if (!state.ok()) {
    return DamagedLog(state.status(), absl::StrCat("snapshot ", store.PathOf(snapshot.file), ": ", state.status().message()));
  }
  if (state->round != snapshot.round || optim::StateHash(model.layout, *state, model.threads) != snapshot.state_hash) {
    return DamagedLog(
        absl::StrCat("snapshot ", store.PathOf(snapshot.file), " is not the state that the journal recorded for round ", snapshot.round));
  }
  return state;
}

absl::StatusOr<optim::ReplicaState> RunLog::StateAt(uint64_t round) {
  TRIBUTARY_ASSIGN_OR_RETURN(const uint64_t last, journal_->LastCommit(run_id_));
  if (round > last) {
    return absl::NotFoundError(absl::StrCat("run ", run_id_, " has no round ", round, " yet: the last commit is ", last));
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<JournaledSnapshot> snapshots, journal_->Snapshots(run_id_));
  TRIBUTARY_ASSIGN_OR_RETURN(const uint64_t pruned, journal_->PrunedThrough(run_id_));
  TRIBUTARY_RETURN_IF_ERROR(CheckNotPruned(run_id_, round, pruned, OldestState(pruned, snapshots)));
  for (auto snapshot = snapshots.rbegin(); snapshot != snapshots.rend(); ++snapshot) {
    if (snapshot->round > round || (!store_->Exists(snapshot->file) && snapshot + 1 != snapshots.rend())) {
      continue;
    }
    TRIBUTARY_ASSIGN_OR_RETURN(optim::ReplicaState state, LoadSnapshot(*model_, *store_, *snapshot));
    if (snapshot->round == round) {
      return state;
    }
    Digest journaled{};
    TRIBUTARY_RETURN_IF_ERROR(
        journal_->VisitCommits(run_id_, snapshot->round + 1, round, [&](uint64_t r, const JournaledCommit& commit) -> absl::Status {
          journaled = commit.state_hash;
          TRIBUTARY_ASSIGN_OR_RETURN(const SharedBytes record, RecordOf(*store_, commit));
          return ReplayCommit(*model_, r, *record, state);
        }));
    TRIBUTARY_RETURN_IF_ERROR(CheckState(*model_, state, journaled));
    return state;
  }
  return absl::NotFoundError(absl::StrCat("run ", run_id_, " has no snapshot at or before round ", round));
}

absl::StatusOr<SharedBytes> RunLog::Snapshot(uint64_t round) {
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<JournaledSnapshot> snapshots, journal_->Snapshots(run_id_));
  for (const JournaledSnapshot& snapshot : snapshots) {
    if (snapshot.round == round) {
      return store_->OpenToServe(snapshot.file);
    }
  }
  return absl::NotFoundError(
      absl::StrCat("run ", run_id_, " has no snapshot of round ", round, " (it may have been pruned: ask for a new SyncPlan)"));
}

absl::StatusOr<SharedBytes> RunLog::NewestSnapshot() {
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<JournaledSnapshot> snapshots, journal_->Snapshots(run_id_));
  if (snapshots.empty()) {
    return absl::NotFoundError(absl::StrCat("run ", run_id_, " has no snapshot"));
  }
  return store_->OpenToServe(snapshots.back().file);
}

absl::StatusOr<SharedBytes> RunLog::Commits(uint64_t first, uint64_t last) {
  if (first == 0 || first > last) {
    return absl::InvalidArgumentError(absl::StrCat("commits ", first, "..", last, " is not a range; rounds count from 1"));
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const uint64_t newest, journal_->LastCommit(run_id_));
  if (last > newest) {
    return absl::NotFoundError(absl::StrCat("run ", run_id_, " has no commit ", last, " yet: the last is ", newest));
  }
  if (SharedBytes held = commits_[{first, last}].lock(); held != nullptr) {
    return held;
  }
  // The entries of ranges that nobody holds any more would add up.
  std::erase_if(commits_, [](const auto& entry) { return entry.second.expired(); });
  std::vector<SharedBytes> parts;
  uint64_t bytes = 0;
  TRIBUTARY_RETURN_IF_ERROR(
      journal_->VisitCommits(run_id_, first, last, [&](uint64_t round, const JournaledCommit& commit) -> absl::Status {
        if (commit.bytes() > UINT32_MAX || (round > first && bytes + commit.bytes() > kMaxCommitDownload)) {
          return absl::ResourceExhaustedError(
              absl::StrCat("commits ", first, "..", last, " are more than ", kMaxCommitDownload, " bytes; ask for fewer at a time"));
        }
        bytes += commit.bytes();
        // A descriptor each, of all that a download may hold, would be too many.
        const auto readable = last - first < 16 ? SnapshotStore::Readable::kForGood : SnapshotStore::Readable::kWhileThere;
        TRIBUTARY_ASSIGN_OR_RETURN(SharedBytes record, RecordOf(*store_, commit, readable));
        parts.push_back(InMemory(optim::CommitRecordPrefix(record->size())));
        parts.push_back(std::move(record));
        return absl::OkStatus();
      }));
  SharedBytes shared = Concatenated(std::move(parts));
  commits_[{first, last}] = shared;
  return shared;
}

}  // namespace tributary::coordinator
