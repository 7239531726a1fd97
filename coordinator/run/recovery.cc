// How a run comes back from its journal.
//
//   newest snapshot --commits since--> state[last]        every chain hash, and the last state's hash, must be the journaled one
//   snapshot's aggregator state --updates since--> the same commits, byte for byte, and the server-side residual that they leave
//   open round: its sum again, from the updates that were accepted
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/checksum.h"
#include "common/exit_codes.h"
#include "common/log.h"
#include "common/status_macros.h"
#include "coordinator/run/run_host.h"
#include "optim/parallel.h"
#include "optim/snapshot.h"

namespace tributary::coordinator {
namespace {

// Anything that takes longer shows how far it is.
constexpr absl::Duration kTellEvery = absl::Seconds(2);

absl::Status Damaged(absl::string_view message) {
  return DamagedLog(absl::StrCat("the journal is damaged: ", message));
}

absl::StatusOr<SharedBytes> SumJournaled(const RunModel& model, const SnapshotStore& store, uint64_t round, const JournaledUpdate& update,
                                         optim::Aggregator& aggregator) {
  absl::StatusOr<SharedBytes> added = SumUpdate(model, store, update, aggregator);
  if (!added.ok() && ExitCodeOf(added.status()) != ExitCode::kStorage) {
    return Damaged(absl::StrCat("update of ", update.site, " for round ", round, ": ", added.status().message()));
  }
  return added;
}

// The payload's digest, checked if the journal holds one.
absl::StatusOr<Digest> DigestOf(const SnapshotStore& store, const JournaledUpdate& update) {
  if (update.file.empty()) {
    return Sha256(update.payload);
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const SharedBytes payload, store.Open(update.file));
  TRIBUTARY_ASSIGN_OR_RETURN(const Digest digest, Sha256(*payload));
  if (digest != update.file_digest) {
    return Damaged(absl::StrCat(store.PathOf(update.file), " is not the update that was accepted"));
  }
  return digest;
}

}  // namespace

absl::Status RunHost::Recover() {
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<JournaledSnapshot> snapshots, journal_->Snapshots(run_id_));
  if (snapshots.empty() || snapshots.front().round != 0) {
    return absl::FailedPreconditionError("its submission was interrupted before the initial weights were stored; submit it again");
  }
  for (const JournaledSnapshot& snapshot : snapshots) {
    snapshots_[snapshot.round] = snapshot;
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<CommitSummary> summaries, journal_->CommitSummaries(run_id_));
  hashes_.push_back(DigestBytes(snapshots.front().state_hash));
  record_bytes_.push_back(0);
  local_steps_.push_back(0);
  TRIBUTARY_RETURN_IF_ERROR(CheckSummaries(summaries));
  if (snapshots.back().round > summaries.size()) {
    return Damaged(absl::StrCat("a snapshot of round ", snapshots.back().round, " but no commits after ", summaries.size()));
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const JournaledSnapshot* start, LoadStart(snapshots));
  TRIBUTARY_RETURN_IF_ERROR(Replay(summaries, *start, snapshots.back()));
  TRIBUTARY_ASSIGN_OR_RETURN(const uint64_t open_bytes, ResumeOpenRound());
  CountLogged(open_bytes);
  return absl::OkStatus();
}

absl::Status RunHost::CheckSummaries(const std::vector<CommitSummary>& summaries) {
  for (const CommitSummary& summary : summaries) {
    if (summary.round != hashes_.size()) {
      return Damaged(absl::StrCat("commit ", hashes_.size(), " is missing"));
    }
    hashes_.push_back(DigestBytes(summary.state_hash));
    if (summary.record_bytes == 0) {
      pruned_ = summary.round;
    }
    record_bytes_.push_back(record_bytes_.back() + summary.record_bytes);
    local_steps_.push_back(summary.round_record.local_steps());
  }
  return absl::OkStatus();
}

// Loads the newest snapshot into state_. An older one makes up for a missing file; a damaged one is an error: somebody
// must look at it.
absl::StatusOr<const JournaledSnapshot*> RunHost::LoadStart(const std::vector<JournaledSnapshot>& snapshots) {
  for (auto snapshot = snapshots.rbegin(); snapshot != snapshots.rend(); ++snapshot) {
    if (!Agrees(snapshot->round, DigestBytes(snapshot->state_hash))) {
      return Damaged(absl::StrCat("snapshot and commit of round ", snapshot->round, " name different states"));
    }
    absl::StatusOr<optim::ReplicaState> state = LoadSnapshot(*model_, *store_, *snapshot);
    if (state.ok()) {
      state_ = *std::move(state);
      return &*snapshot;
    }
    // Without the commits after it, an older one leads nowhere.
    const bool oldest = snapshot + 1 == snapshots.rend() || !LeadsOnFrom((snapshot + 1)->round);
    if (oldest || !absl::IsDataLoss(state.status())) {
      return state.status();
    }
    if (store_->Exists(snapshot->file)) {
      return WithExitCode(
          absl::DataLossError(absl::StrCat(state.status().message(), " (or move only this file away: it will be rebuilt from round ",
                                           (snapshot + 1)->round, " and the log)")),
          ExitCode::kDamaged);
    }
    LogWarning("coordinator", "run ", run_id_, ": snapshot ", snapshot->file, " is gone; rebuilding it from round ", (snapshot + 1)->round,
               " and the log");
  }
  return Damaged("no snapshot");
}

// From `start` (in state_) to the last commit. Up to `newest` only the state is replayed; from there on also the aggregation, whose state
// the journal holds for that round.
absl::Status RunHost::Replay(const std::vector<CommitSummary>& summaries, const JournaledSnapshot& start, const JournaledSnapshot& newest) {
  chain_hash_ = start.round == 0 ? ChainStart(model_->layout, start.state_hash) : summaries[start.round - 1].chain_hash;
  TRIBUTARY_RETURN_IF_ERROR(RestoreAggregator(*store_, newest, *aggregator_));
  const uint64_t last = summaries.size();
  if (start.round == last) {
    return absl::OkStatus();
  }
  LogInfo("coordinator", "run ", run_id_, ": replaying rounds ", start.round + 1, " to ", last);
  const absl::Time begin = clock_->Now();
  absl::Time told = begin;
  const auto replay = [&](uint64_t round, const JournaledCommit& commit) -> absl::Status {
    TRIBUTARY_ASSIGN_OR_RETURN(const SharedBytes record, RecordOf(*store_, commit));
    TRIBUTARY_ASSIGN_OR_RETURN(chain_hash_, optim::ChainHash(chain_hash_, *record));
    if (chain_hash_ != commit.chain_hash) {
      return Damaged(absl::StrCat("commit ", round, " breaks the hash chain"));
    }
    const bool aggregated_later = round > newest.round;
    // The state and the server-side residual know nothing of each other.
    absl::Status replayed;
    absl::StatusOr<uint64_t> aggregated = 0;
    optim::ParallelFor(aggregated_later ? std::min(2, model_->threads) : 1, aggregated_later ? 2 : 1, [&](int64_t part) {
      if (part == 0) {
        replayed = ReplayCommit(*model_, round, *record, state_);
      } else {
        aggregated = Reaggregate(*model_, *journal_, *store_, run_id_, ParametersOf(round), commit, *aggregator_);
      }
    });
    TRIBUTARY_RETURN_IF_ERROR(replayed);
    TRIBUTARY_RETURN_IF_ERROR(aggregated.status());
    log_bytes_ += aggregated_later ? commit.bytes() + *aggregated : 0;
    for (const std::string& site : commit.included) {
      last_included_[site] = round;
    }
    if (round == newest.round) {
      TRIBUTARY_RETURN_IF_ERROR(CheckState(*model_, state_, commit.state_hash));
      TRIBUTARY_RETURN_IF_ERROR(
          store_->Save(run_id_, round, [this](ByteSink sink) { return optim::WriteSnapshot(model_->layout, state_, sink); }).status());
    }
    if (const absl::Time now = clock_->Now(); now - told >= kTellEvery) {
      told = now;
      const double share = static_cast<double>(round - start.round) / static_cast<double>(last - start.round);
      LogInfo("coordinator", "run ", run_id_, ": replaying round ", round, " of ", last, ", ", static_cast<int>(share * 100), " %, about ",
              static_cast<int>(absl::ToDoubleSeconds(now - begin) * (1 - share) / share + 0.5), " s left");
    }
    return absl::OkStatus();
  };
  TRIBUTARY_RETURN_IF_ERROR(journal_->VisitCommits(run_id_, start.round + 1, last, replay));
  replay_cost_ = clock_->Now() - begin;
  return CheckState(*model_, state_, summaries.back().state_hash);
}

absl::Status RestoreAggregator(const SnapshotStore& store, const JournaledSnapshot& snapshot, optim::Aggregator& aggregator) {
  if (snapshot.aggregator_file.empty()) {
    return absl::OkStatus();
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const SharedBytes file, store.Open(snapshot.aggregator_file));
  TRIBUTARY_ASSIGN_OR_RETURN(const std::string bytes, ReadAll(*file));
  if (Sha256(bytes) != snapshot.aggregator_hash) {
    return Damaged(absl::StrCat(store.PathOf(snapshot.aggregator_file), " is not the file that the journal names"));
  }
  if (const absl::Status restored = aggregator.RestoreState(bytes); !restored.ok()) {
    return Damaged(absl::StrCat(store.PathOf(snapshot.aggregator_file), ": ", restored.message()));
  }
  return absl::OkStatus();
}

// Makes the commit again from the updates that went into it: the server-side residual moves with it.
absl::StatusOr<uint64_t> Reaggregate(const RunModel& model, Journal& journal, const SnapshotStore& store, const std::string& run_id,
                                     optim::RoundParameters parameters, const JournaledCommit& commit, optim::Aggregator& aggregator) {
  const uint64_t round = parameters.round;
  TRIBUTARY_ASSIGN_OR_RETURN(const SharedBytes record, RecordOf(store, commit));
  const absl::StatusOr<optim::CommitHead> journaled = optim::DecodeCommitHead(*record);
  if (ExitCodeOf(journaled.status()) == ExitCode::kStorage) {
    return journaled.status();
  }
  if (!journaled.ok()) {
    return Damaged(absl::StrCat("commit ", round, ": ", journaled.status().message()));
  }
  parameters.learning_rate = journaled->learning_rate;
  TRIBUTARY_RETURN_IF_ERROR(aggregator.BeginRound(parameters, std::max<uint32_t>(1, commit.round_record.members())));
  uint64_t updates = 0;
  uint64_t bytes = 0;
  TRIBUTARY_RETURN_IF_ERROR(journal.VisitUpdates(run_id, round, [&](const JournaledUpdate& update) {
    ++updates;
    bytes += update.bytes();
    return SumJournaled(model, store, round, update, aggregator).status();
  }));
  if (updates != journaled->included) {
    return Damaged(absl::StrCat("round ", round, " has ", updates, " updates where its commit holds ", journaled->included));
  }
  uint64_t made = 0;
  bool same = true;
  std::string scratch;
  const auto compare = [&](absl::string_view piece) -> absl::Status {
    if (same && piece.size() <= record->size() - made) {
      TRIBUTARY_ASSIGN_OR_RETURN(const absl::string_view was, record->Slice(made, piece.size(), scratch));
      same = was == piece;
      made += piece.size();
    } else {
      same = false;
    }
    return absl::OkStatus();
  };
  TRIBUTARY_RETURN_IF_ERROR(aggregator.FinishRecord(compare, model.threads).status());
  if (!same || made != record->size()) {
    return Damaged(absl::StrCat("the updates of round ", round, " do not make the commit that was journaled"));
  }
  return bytes;
}

absl::StatusOr<uint64_t> RunHost::ResumeOpenRound() {
  TRIBUTARY_ASSIGN_OR_RETURN(const std::optional<JournaledRound> open, journal_->OpenRound(run_id_));
  if (!open.has_value()) {
    return 0;
  }
  if (open->round != state_.round + 1 || open->members.empty()) {
    return Damaged(absl::StrCat("round ", open->round, " is open after commit ", state_.round));
  }
  open_round_ = open->round;
  members_ = open->members;
  parameters_ = ParametersOf(open_round_);
  TRIBUTARY_RETURN_IF_ERROR(aggregator_->BeginRound(parameters_, static_cast<uint32_t>(members_.size())));
  uint64_t bytes = 0;
  TRIBUTARY_RETURN_IF_ERROR(journal_->VisitUpdates(run_id_, open_round_, [&](const JournaledUpdate& update) -> absl::Status {
    bytes += update.bytes();
    TRIBUTARY_ASSIGN_OR_RETURN(const Digest digest, DigestOf(*store_, update));
    TRIBUTARY_ASSIGN_OR_RETURN(SharedBytes stored, SumJournaled(*model_, *store_, open_round_, update, *aggregator_));
    accepted_[update.site] = Accepted{DigestBytes(digest), update.report, std::move(stored)};
    return absl::OkStatus();
  }));
  return bytes;
}

}  // namespace tributary::coordinator
