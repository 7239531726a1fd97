#include "coordinator/journal_tool.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/checksum.h"
#include "common/exit_codes.h"
#include "common/file_store.h"
#include "common/status_macros.h"
#include "coordinator/run_host.h"
#include "coordinator/run_log.h"
#include "coordinator/snapshot_store.h"
#include "optim/aggregator.h"
#include "optim/snapshot.h"

namespace tributary::coordinator {
namespace {

std::string JournalIn(const std::string& data_dir) {
  return data_dir + "/journal.db";
}

std::string SnapshotsIn(const std::string& data_dir) {
  return data_dir + "/snapshots";
}

// Checks one run and adds what it finds to `result`.
class RunCheck {
 public:
  RunCheck(Journal* journal, SnapshotStore* store, const JournaledRun& run, Verification& result)
      : journal_(*journal), store_(*store), run_(run), result_(result) {}

  absl::Status Check(const std::function<absl::Status(const std::string&, uint64_t, uint64_t)>& progress) {
    TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<JournaledSnapshot> snapshots, journal_.Snapshots(run_.run_id));
    TRIBUTARY_ASSIGN_OR_RETURN(const uint64_t last, journal_.LastCommit(run_.run_id));
    if (snapshots.empty() && last == 0) {
      return absl::OkStatus();  // its submission was interrupted; the coordinator says so when its turn comes
    }
    TRIBUTARY_ASSIGN_OR_RETURN(const RunModel model, RunModel::Of(run_.spec));
    for (const JournaledSnapshot& snapshot : snapshots) {
      Note(LoadSnapshot(model, store_, snapshot).status());
      TRIBUTARY_ASSIGN_OR_RETURN(const std::unique_ptr<optim::Aggregator> aggregator, optim::MakeAggregator(model.options, model.layout));
      Note(RestoreAggregator(store_, snapshot, *aggregator));
    }
    if (snapshots.empty() || snapshots.front().round != 0) {
      Note(absl::DataLossError("the snapshot of the initial weights is gone"));
      return absl::OkStatus();
    }
    std::string state_hash = DigestHex(snapshots.front().state_hash);
    absl::StatusOr<optim::ReplicaState> state = LoadSnapshot(model, store_, snapshots.front());
    if (state.ok()) {
      optim::Digest chain = ChainStart(model.layout, snapshots.front().state_hash);
      auto newer = snapshots.begin() + 1;
      const absl::Status visited = journal_.VisitCommits(run_.run_id, 1, last, [&](uint64_t round, const JournaledCommit& commit) {
        chain = optim::ChainHash(chain, commit.record);
        if (chain != commit.chain_hash) {
          return absl::DataLossError(absl::StrCat("commit ", round, " breaks the hash chain"));
        }
        TRIBUTARY_RETURN_IF_ERROR(ReplayCommit(model, round, commit, *state));
        TRIBUTARY_RETURN_IF_ERROR(CheckState(model, *state, commit.state_hash));
        if (newer != snapshots.end() && newer->round == round && (newer++)->state_hash != commit.state_hash) {
          return absl::DataLossError(absl::StrCat("snapshot and commit of round ", round, " name different states"));
        }
        state_hash = DigestHex(commit.state_hash);
        return progress(run_.run_id, round, last);
      });
      if (absl::IsCancelled(visited)) {
        return visited;
      }
      Note(visited);
    }
    if (!found_ && run_.state != v1::FINISHED && run_.state != v1::FAILED && run_.state != v1::STOPPED) {
      // As a start of the coordinator would: also the updates, and the round that is open.
      Note(RunHost::Open(run_, v1::SnapshotConfig(), &journal_, &store_, &Clock::Real()).status());
    }
    result_.runs.push_back({run_.run_id, last, snapshots.size(), state_hash});
    return absl::OkStatus();
  }

 private:
  void Note(const absl::Status& status) {
    if (!status.ok()) {
      found_ = true;
      result_.problems.push_back(absl::StrCat("run ", run_.run_id, ": ", status.message()));
    }
  }

  Journal& journal_;
  SnapshotStore& store_;
  const JournaledRun& run_;
  Verification& result_;
  bool found_ = false;
};

// The aggregator's state after commit `round`, from `snapshot` and the updates since; nullopt if they are not all kept.
absl::StatusOr<std::optional<std::string>> AggregatorAt(Journal& journal, const SnapshotStore& store, const std::string& run_id,
                                                        const RunModel& model, const JournaledSnapshot& snapshot, uint64_t round) {
  TRIBUTARY_ASSIGN_OR_RETURN(const std::unique_ptr<optim::Aggregator> aggregator, optim::MakeAggregator(model.options, model.layout));
  TRIBUTARY_RETURN_IF_ERROR(RestoreAggregator(store, snapshot, *aggregator));
  for (uint64_t r = snapshot.round + 1; r <= round; ++r) {
    TRIBUTARY_ASSIGN_OR_RETURN(const JournaledCommit commit, journal.Commit(run_id, r));
    TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<JournaledUpdate> updates, journal.Updates(run_id, r));
    if (updates.size() != commit.included.size()) {
      return std::nullopt;
    }
    TRIBUTARY_RETURN_IF_ERROR(Reaggregate(model, r, commit, updates, *aggregator));
  }
  return aggregator->SaveState();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Journal>> InspectJournal(const std::string& data_dir) {
  return InspectSqliteJournal(JournalIn(data_dir));
}

absl::StatusOr<JournaledRun> FindJournaledRun(Journal& journal, const std::string& run) {
  TRIBUTARY_ASSIGN_OR_RETURN(std::vector<JournaledRun> runs, journal.Runs());
  for (JournaledRun& candidate : runs) {
    if (candidate.run_id == run) {
      return std::move(candidate);
    }
  }
  for (auto candidate = runs.rbegin(); candidate != runs.rend(); ++candidate) {
    if (candidate->spec.name() == run) {
      return std::move(*candidate);
    }
  }
  return absl::NotFoundError(absl::StrCat("the journal has no run ", run, "; `tributary journal show DATA_DIR` lists its runs"));
}

absl::StatusOr<Verification> VerifyJournal(const std::string& data_dir,
                                           const std::function<absl::Status(const std::string&, uint64_t, uint64_t)>& progress) {
  TRIBUTARY_ASSIGN_OR_RETURN(const std::unique_ptr<Journal> journal, InspectJournal(data_dir));
  Verification result;
  if (const absl::Status rows = journal->CheckAll(); !rows.ok()) {
    // What stands in such a journal proves nothing more.
    result.problems.emplace_back(rows.message());
    return result;
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const std::unique_ptr<FileStore> files, OpenFolder(SnapshotsIn(data_dir)));
  SnapshotStore store(files.get());
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<JournaledRun> runs, journal->Runs());
  for (const JournaledRun& run : runs) {
    TRIBUTARY_RETURN_IF_ERROR(RunCheck(journal.get(), &store, run, result).Check(progress));
  }
  return result;
}

absl::StatusOr<Truncation> TruncateJournal(const std::string& data_dir, const std::string& run, uint64_t round) {
  // Looks first: opening a journal to write makes one where there is none.
  TRIBUTARY_RETURN_IF_ERROR(InspectJournal(data_dir).status());
  TRIBUTARY_ASSIGN_OR_RETURN(const std::unique_ptr<Journal> journal, OpenSqliteJournal(JournalIn(data_dir)));
  TRIBUTARY_ASSIGN_OR_RETURN(const JournaledRun found, FindJournaledRun(*journal, run));
  const std::string& run_id = found.run_id;
  TRIBUTARY_ASSIGN_OR_RETURN(const uint64_t last, journal->LastCommit(run_id));
  if (round > last) {
    return WithExitCode(absl::FailedPreconditionError(
                            absl::StrCat("run ", run_id, " has ", last, " commits; there is nothing after round ", round, " to drop")),
                        ExitCode::kUsage);
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const std::unique_ptr<FileStore> files, OpenFolder(SnapshotsIn(data_dir)));
  SnapshotStore store(files.get());
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<JournaledSnapshot> snapshots, journal->Snapshots(run_id));
  const JournaledSnapshot* start = nullptr;
  for (const JournaledSnapshot& snapshot : snapshots) {
    if (snapshot.round <= round && store.Exists(snapshot.file)) {
      start = &snapshot;
    }
  }
  if (start == nullptr) {
    return WithExitCode(absl::FailedPreconditionError(absl::StrCat("run ", run_id, " has no snapshot file up to round ", round,
                                                                   "; restore its snapshots from a backup first")),
                        ExitCode::kUsage);
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const RunModel model, RunModel::Of(found.spec));
  TRIBUTARY_ASSIGN_OR_RETURN(const optim::ReplicaState state, RunLog(run_id, &model, journal.get(), &store).StateAt(round));
  TRIBUTARY_ASSIGN_OR_RETURN(const std::optional<std::string> residual, AggregatorAt(*journal, store, run_id, model, *start, round));

  Truncation done;
  done.dropped = last - round;
  done.residual_known = residual.has_value();
  JournaledSnapshot snapshot;
  snapshot.round = round;
  snapshot.state_hash = optim::StateHash(model.layout, state, model.threads);
  done.state_hash = DigestHex(snapshot.state_hash);
  done.backup = absl::StrCat(JournalIn(data_dir), ".before-truncate-", run_id, "-", round);
  TRIBUTARY_RETURN_IF_ERROR(journal->BackUp(done.backup));
  // Where the run goes on from is durable before anything goes. A crash in between leaves a snapshot more, which is no harm: as long as
  // there are newer ones, recovery takes those.
  if (start->round != round) {
    TRIBUTARY_ASSIGN_OR_RETURN(const std::unique_ptr<optim::Aggregator> fresh, optim::MakeAggregator(model.options, model.layout));
    const std::string aggregator_state = residual.has_value() ? *residual : fresh->SaveState();
    snapshot.aggregator_hash = Sha256(aggregator_state);
    TRIBUTARY_ASSIGN_OR_RETURN(snapshot.aggregator_file, store.SaveAggregator(run_id, round, aggregator_state));
    TRIBUTARY_ASSIGN_OR_RETURN(snapshot.file, store.Save(run_id, round, optim::EncodeSnapshot(model.layout, state)));
    TRIBUTARY_RETURN_IF_ERROR(journal->AddSnapshot(run_id, snapshot));
  }
  TRIBUTARY_RETURN_IF_ERROR(journal->Truncate(run_id, round));
  // The next start would remove what no journal names; the copy of the journal names it.
  for (const JournaledSnapshot& dropped : snapshots) {
    for (const std::string& file : {dropped.file, dropped.aggregator_file}) {
      if (dropped.round > round && !file.empty() && store.Exists(file)) {
        std::error_code error;
        std::filesystem::rename(store.PathOf(file), store.PathOf(file) + ".before-truncate", error);
        done.aside = SnapshotsIn(data_dir);
      }
    }
  }
  return done;
}

}  // namespace tributary::coordinator
