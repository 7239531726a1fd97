#include "coordinator/journal_tool.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/checksum.h"
#include "common/clock.h"
#include "common/exit_codes.h"
#include "common/file_store.h"
#include "common/files.h"
#include "common/status_macros.h"
#include "coordinator/audit/audited_journal.h"
#include "coordinator/folder_view.h"
#include "coordinator/journal/open_journal.h"
#include "coordinator/journal/snapshot_store.h"
#include "coordinator/journal/upgrade_journal.h"
#include "coordinator/run/log_keeping.h"
#include "coordinator/run/run_accounts.h"
#include "coordinator/run/run_host.h"
#include "coordinator/run/run_log.h"
#include "coordinator/run/run_status.h"
#include "coordinator/run/timed_steps.h"
#include "optim/aggregator.h"
#include "optim/snapshot.h"

namespace tributary::coordinator {
namespace {

// What the first record that a log still has continues.
struct Head {
  Digest chain_hash{};
  Digest state_hash{};
};

// `snapshots`: with that of the initial weights first. `pruned`: the newest pruned round; 0: none.
absl::StatusOr<Head> HeadOf(const RunModel& model, Journal& journal, const std::string& run_id,
                            const std::vector<JournaledSnapshot>& snapshots, uint64_t pruned) {
  const Digest& initial = snapshots.front().state_hash;
  if (pruned == 0) {
    return Head{ChainStart(model.layout, initial), initial};
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const JournaledCommit commit, journal.Commit(run_id, pruned));
  return Head{commit.chain_hash, commit.state_hash};
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
    TRIBUTARY_ASSIGN_OR_RETURN(const uint64_t pruned, journal_.PrunedThrough(run_.run_id));
    const auto start = std::find_if(snapshots.begin(), snapshots.end(), [&](const auto& snapshot) { return snapshot.round >= pruned; });
    if (start == snapshots.end()) {
      Note(absl::DataLossError(absl::StrCat("it is pruned up to round ", pruned, ", and no snapshot is as new")));
      return absl::OkStatus();
    }
    std::string state_hash = DigestHex(start->state_hash);
    absl::StatusOr<optim::ReplicaState> state = LoadSnapshot(model, store_, *start);
    if (state.ok()) {
      TRIBUTARY_ASSIGN_OR_RETURN(const Head head, HeadOf(model, journal_, run_.run_id, snapshots, pruned));
      Digest chain = head.chain_hash;
      auto next = start;
      const auto check_snapshot = [&](uint64_t round, const Digest& hash) {
        return next != snapshots.end() && next->round == round && (next++)->state_hash != hash
                   ? absl::DataLossError(absl::StrCat("snapshot and commit of round ", round, " name different states"))
                   : absl::OkStatus();
      };
      Note(check_snapshot(pruned, head.state_hash));
      const absl::Status visited =
          journal_.VisitCommits(run_.run_id, pruned + 1, last, [&](uint64_t round, const JournaledCommit& commit) -> absl::Status {
            TRIBUTARY_ASSIGN_OR_RETURN(const SharedBytes record, RecordOf(store_, commit));
            TRIBUTARY_ASSIGN_OR_RETURN(chain, optim::ChainHash(chain, *record));
            if (chain != commit.chain_hash) {
              return absl::DataLossError(absl::StrCat("commit ", round, " breaks the hash chain"));
            }
            if (round > start->round) {
              TRIBUTARY_RETURN_IF_ERROR(ReplayCommit(model, round, *record, *state));
              TRIBUTARY_RETURN_IF_ERROR(CheckState(model, *state, commit.state_hash));
            }
            TRIBUTARY_RETURN_IF_ERROR(check_snapshot(round, commit.state_hash));
            state_hash = DigestHex(commit.state_hash);
            return progress(run_.run_id, round, last);
          });
      if (absl::IsCancelled(visited)) {
        return visited;
      }
      Note(visited);
    }
    if (!found_) {
      // As a start of the coordinator would: also the updates, and the round that is open.
      Note(RunHost::Open(run_, {}, &journal_, &store_, &Clock::Real()).status());
    }
    result_.runs.push_back({run_.run_id, last, pruned, snapshots.size(), state_hash});
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

// Where a run goes on from after it was taken back to `round`, and whether its server-side residual is known.
class Restart {
 public:
  Restart(Journal* journal, FileStore* files, const JournaledRun& run, uint64_t round)
      : journal_(*journal), files_(*files), store_(files), run_(run), round_(round) {}

  // Of a journal that ends at that round; checks it up to there. The snapshot to be journaled, its files written; nullopt: there is one.
  absl::StatusOr<std::optional<JournaledSnapshot>> Settle() {
    TRIBUTARY_ASSIGN_OR_RETURN(const RunModel model, RunModel::Of(run_.spec));
    TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<JournaledSnapshot> snapshots, journal_.Snapshots(run_.run_id));
    if (snapshots.empty() || snapshots.front().round != 0) {
      return absl::DataLossError(absl::StrCat("run ", run_.run_id, " has no snapshot of its initial weights; restore a backup"));
    }
    TRIBUTARY_ASSIGN_OR_RETURN(const uint64_t pruned_records, journal_.PrunedThrough(run_.run_id));
    TRIBUTARY_ASSIGN_OR_RETURN(const Head head, HeadOf(model, journal_, run_.run_id, snapshots, pruned_records));
    Digest chain = head.chain_hash;
    Digest journaled = head.state_hash;
    TRIBUTARY_RETURN_IF_ERROR(
        journal_.VisitCommits(run_.run_id, pruned_records + 1, round_, [&](uint64_t round, const JournaledCommit& commit) -> absl::Status {
          TRIBUTARY_ASSIGN_OR_RETURN(const SharedBytes record, RecordOf(store_, commit));
          TRIBUTARY_ASSIGN_OR_RETURN(chain, optim::ChainHash(chain, *record));
          journaled = commit.state_hash;
          return chain == commit.chain_hash
                     ? absl::OkStatus()
                     : absl::DataLossError(absl::StrCat("commit ", round, " breaks the hash chain; name a round before it"));
        }));
    TRIBUTARY_ASSIGN_OR_RETURN(const optim::ReplicaState state, RunLog(run_.run_id, &model, &journal_, &store_).StateAt(round_));
    JournaledSnapshot start;
    start.round = round_;
    start.state_hash = optim::StateHash(model.layout, state, model.threads);
    state_hash_ = DigestHex(start.state_hash);
    if (start.state_hash != journaled) {
      return absl::DataLossError(absl::StrCat("snapshot and commit of round ", round_, " name different states; name another round"));
    }
    const JournaledSnapshot& newest = snapshots.back();
    TRIBUTARY_ASSIGN_OR_RETURN(std::unique_ptr<optim::Aggregator> aggregator, optim::MakeAggregator(model.options, model.layout));
    TRIBUTARY_ASSIGN_OR_RETURN(const bool pruned, UpdatesArePruned(newest));
    const absl::Status restored = pruned ? absl::DataLossError("") : RestoreResidual(model, newest, *aggregator);
    residual_known_ = restored.ok();
    if (absl::IsDataLoss(restored)) {
      if (!pruned) {
        damage_ = std::string(restored.message());
      }
      TRIBUTARY_ASSIGN_OR_RETURN(aggregator, optim::MakeAggregator(model.options, model.layout));
    } else {
      TRIBUTARY_RETURN_IF_ERROR(restored);
    }
    if (newest.round == round_ && residual_known_ && store_.Exists(newest.file)) {
      return std::nullopt;
    }
    // Until the transaction is durable, the files of the journal as it was must stay as they are.
    TRIBUTARY_ASSIGN_OR_RETURN(const std::string mark, UnusedMark());
    const std::string aggregator_state = aggregator->SaveState();
    start.aggregator_hash = Sha256(aggregator_state);
    TRIBUTARY_ASSIGN_OR_RETURN(start.aggregator_file, store_.SaveAggregator(run_.run_id, round_, aggregator_state, mark));
    TRIBUTARY_ASSIGN_OR_RETURN(
        start.file, store_.Save(
                        run_.run_id, round_, [&](ByteSink sink) { return optim::WriteSnapshot(model.layout, state, sink); }, mark));
    return start;
  }

  const std::string& state_hash() const { return state_hash_; }
  bool residual_known() const { return residual_known_; }
  // Why the residual is not known although nothing was pruned; empty: it is, or it was.
  const std::string& damage() const { return damage_; }

 private:
  // Whether the updates between `newest` and the round went with a later snapshot.
  absl::StatusOr<bool> UpdatesArePruned(const JournaledSnapshot& newest) {
    for (uint64_t round = newest.round + 1; round <= round_; ++round) {
      TRIBUTARY_ASSIGN_OR_RETURN(const JournaledCommit commit, journal_.Commit(run_.run_id, round));
      if (commit.included.empty()) {
        continue;
      }
      bool found = false;
      const absl::Status visited = journal_.VisitUpdates(run_.run_id, round, [&found](const JournaledUpdate&) {
        found = true;
        return absl::CancelledError();
      });
      return !found && visited.ok();
    }
    return false;
  }

  absl::StatusOr<std::string> UnusedMark() const {
    TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<std::string> names, files_.Names());
    for (int number = 1;; ++number) {
      std::string mark = absl::StrCat(".back", number);
      if (std::none_of(names.begin(), names.end(), [&](const std::string& name) { return absl::StrContains(name, mark + "."); })) {
        return mark;
      }
    }
  }

  // From `newest` and the updates since.
  absl::Status RestoreResidual(const RunModel& model, const JournaledSnapshot& newest, optim::Aggregator& aggregator) {
    TRIBUTARY_RETURN_IF_ERROR(RestoreAggregator(store_, newest, aggregator));
    for (uint64_t round = newest.round + 1; round <= round_; ++round) {
      TRIBUTARY_ASSIGN_OR_RETURN(const JournaledCommit commit, journal_.Commit(run_.run_id, round));
      uint32_t steps = 0;
      if (const uint64_t reference = ReferenceRound(model, round); reference != 0) {
        TRIBUTARY_ASSIGN_OR_RETURN(const JournaledCommit earlier, journal_.Commit(run_.run_id, reference));
        steps = earlier.round_record.local_steps();
      }
      TRIBUTARY_RETURN_IF_ERROR(
          Reaggregate(model, journal_, store_, run_.run_id, ParametersOf(model, round, steps), commit, aggregator).status());
    }
    return absl::OkStatus();
  }

  Journal& journal_;
  const FileStore& files_;
  SnapshotStore store_;
  const JournaledRun& run_;
  const uint64_t round_;
  std::string state_hash_;
  std::string damage_;
  bool residual_known_ = false;
};

std::error_code LinkOrCopy(const std::filesystem::path& from, const std::filesystem::path& to) {
  std::error_code error;
  std::filesystem::create_hard_link(from, to, error);
  if (error) {
    // Not every file system has links.
    std::filesystem::copy_file(from, to, error);
  }
  return error;
}

absl::Status CheckNoCopy(const std::string& copy) {
  std::error_code error;
  return std::filesystem::exists(copy, error)
             ? WithExitCode(absl::AlreadyExistsError(absl::StrCat(copy, " exists already; move it away, then run this again")),
                            ExitCode::kUsage)
             : absl::OkStatus();
}

// A whole copy of the data folder, by the name of `copy`: the journal, and every snapshot that it may name. Snapshot files are never
// changed in place, so that links to them will do.
absl::Status CopyFolder(Journal& journal, const std::string& data_dir, const std::string& copy) {
  namespace fs = std::filesystem;
  TRIBUTARY_RETURN_IF_ERROR(CheckNoCopy(copy));
  std::error_code error;
  const std::string fresh = copy + ".new";
  fs::remove_all(fresh, error);
  // A part of a copy helps nobody, least of all where the disk is full.
  const auto remove_part = absl::MakeCleanup([&fresh] {
    std::error_code ignored;
    fs::remove_all(fresh, ignored);
  });
  TRIBUTARY_RETURN_IF_ERROR(MakeDirectories(SnapshotsIn(fresh)));
  TRIBUTARY_RETURN_IF_ERROR(journal.BackUp(JournalIn(fresh), [](uint64_t, uint64_t) { return absl::OkStatus(); }));
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<std::string> names, FolderToRead(SnapshotsIn(data_dir))->Names());
  for (const std::string& name : names) {
    const std::string to = SnapshotsIn(fresh) + "/" + name;
    if (!fs::is_regular_file(SnapshotsIn(data_dir) + "/" + name, error)) {
      continue;
    }
    if (const std::error_code failed = LinkOrCopy(SnapshotsIn(data_dir) + "/" + name, to)) {
      return StorageError("copy a snapshot to", to, failed.value());
    }
    TRIBUTARY_RETURN_IF_ERROR(SyncPath(to));
  }
  TRIBUTARY_RETURN_IF_ERROR(SyncPath(SnapshotsIn(fresh)));
  TRIBUTARY_RETURN_IF_ERROR(SyncPath(fresh));
  fs::rename(fresh, copy, error);
  return error ? StorageError("write", copy, error.value()) : SyncPath(data_dir);
}

// NotFound: the run cannot be taken back to that round, because what led there is pruned.
absl::Status CheckReachable(Journal& journal, const JournaledRun& run, uint64_t round) {
  TRIBUTARY_ASSIGN_OR_RETURN(const uint64_t pruned, journal.PrunedThrough(run.run_id));
  const absl::StatusOr<std::vector<JournaledSnapshot>> snapshots = journal.Snapshots(run.run_id);
  if (pruned == 0 || absl::IsDataLoss(snapshots.status())) {
    return absl::OkStatus();  // what is damaged may be of later rounds; without those it is seen what leads to this one
  }
  TRIBUTARY_RETURN_IF_ERROR(snapshots.status());
  const uint64_t oldest = OldestState(pruned, *snapshots);
  // Sites of a pipelined run start from the state before the last.
  const bool needs_one_before = run.spec.pipeline() != 0 && oldest < UINT64_MAX;
  return CheckNotPruned(run.run_id, round, pruned, needs_one_before ? oldest + 1 : oldest);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Journal>> InspectJournal(const std::string& data_dir) {
  return InspectSqliteJournal(JournalIn(data_dir));
}

absl::StatusOr<RunAsTold> ReadRun(const std::string& data_dir, const std::string& run) {
  TRIBUTARY_ASSIGN_OR_RETURN(const std::unique_ptr<Journal> journal, InspectJournal(data_dir));
  TRIBUTARY_ASSIGN_OR_RETURN(const JournaledRun journaled, FindJournaledRun(*journal, run));
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<CommitSummary> commits, journal->CommitSummaries(journaled.run_id));
  TRIBUTARY_ASSIGN_OR_RETURN(const JournaledEvaluations evaluations, journal->Evaluations(journaled.run_id));
  RunAsTold told;
  TRIBUTARY_ASSIGN_OR_RETURN(told.status, StatusFromJournal(*journal, journaled));
  told.history = MakeHistory(commits, evaluations);
  return told;
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
  TRIBUTARY_ASSIGN_OR_RETURN(const FolderView view, LookAt(data_dir));
  Journal* const journal = view.journal.get();
  Verification result;
  if (const absl::Status whole = journal->CheckIntegrity(); !whole.ok()) {
    // What stands in such a journal proves nothing more.
    result.problems.emplace_back(whole.message());
    return result;
  }
  SnapshotStore store(view.snapshots.get());
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<JournaledRun> runs, journal->Runs());
  for (const JournaledRun& run : runs) {
    if (const absl::Status rows = journal->CheckRun(run); !rows.ok()) {
      result.problems.emplace_back(rows.message());
      continue;
    }
    TRIBUTARY_RETURN_IF_ERROR(RunCheck(journal, &store, run, result).Check(progress));
  }
  return result;
}

absl::StatusOr<Truncation> TruncateJournal(const std::string& data_dir, const std::string& run, uint64_t round) {
  TRIBUTARY_ASSIGN_OR_RETURN(std::unique_ptr<Journal> repaired, RepairSqliteJournal(JournalIn(data_dir)));
  TRIBUTARY_ASSIGN_OR_RETURN(const std::unique_ptr<AuditedJournal> journal,
                             AuditedJournal::Over(std::move(repaired), &Clock::Real(), /*federation=*/""));
  TRIBUTARY_ASSIGN_OR_RETURN(const JournaledRun found, FindJournaledRun(*journal, run));
  const std::string& run_id = found.run_id;
  TRIBUTARY_ASSIGN_OR_RETURN(const uint64_t last, journal->LastCommit(run_id));
  if (round > last) {
    return WithExitCode(absl::FailedPreconditionError(
                            absl::StrCat("run ", run_id, " has ", last, " commits; there is nothing after round ", round, " to drop")),
                        ExitCode::kUsage);
  }
  if (IsOver(found.state) && round == last) {
    return WithExitCode(absl::FailedPreconditionError(absl::StrCat("run ", run_id, " is over and ends at round ", last, " already")),
                        ExitCode::kUsage);
  }
  TRIBUTARY_RETURN_IF_ERROR(CheckReachable(*journal, found, round));
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<JournaledRun> runs, journal->Runs());
  for (const JournaledRun& other : runs) {
    // Submission sees to it that a name means one run; queueing this one again must, too.
    if (IsOver(found.state) && !IsOver(other.state) && other.spec.name() == found.spec.name()) {
      return WithExitCode(absl::FailedPreconditionError(absl::StrCat("run ", other.run_id, " has the same name, ", found.spec.name(),
                                                                     ", and is not over: stop it first, then take this one back")),
                          ExitCode::kUsage);
    }
  }
  if (absl::StrContains(run_id, '/')) {
    return WithExitCode(absl::DataLossError(absl::StrCat("the journal is damaged: no run is named ", run_id)), ExitCode::kDamaged);
  }
  Truncation done;
  done.dropped = last - round;
  done.backup = absl::StrCat(data_dir, "/before-truncate-", run_id, "-", round);
  TRIBUTARY_RETURN_IF_ERROR(CopyFolder(*journal, data_dir, done.backup));
  TRIBUTARY_ASSIGN_OR_RETURN(const std::unique_ptr<FileStore> files, OpenFolder(SnapshotsIn(data_dir)));
  Restart restart(journal.get(), files.get(), found, round);
  absl::StatusOr<std::vector<std::string>> damaged = journal->Truncate(run_id, round, [&restart] { return restart.Settle(); });
  if (absl::IsDataLoss(damaged.status()) || absl::IsNotFound(damaged.status())) {
    // What leads to the round is not sound or not there: nothing was taken back, and the copy is useless.
    std::error_code error;
    std::filesystem::remove_all(done.backup, error);
    return WithExitCode(damaged.status(), ExitCode::kDamaged);
  }
  if (!damaged.ok()) {
    // A disk that fails may have taken it all the same.
    return Annotate(damaged.status(), absl::StrCat("the folder as it was is ", done.backup));
  }
  done.damaged = *std::move(damaged);
  if (!restart.damage().empty()) {
    done.damaged.push_back(absl::StrCat("the coordinator's residual (", restart.damage(), ")"));
  }
  done.state_hash = restart.state_hash();
  done.residual_known = restart.residual_known();
  return done;
}

absl::StatusOr<Upgrade> UpgradeJournal(const std::string& data_dir) {
  std::string backup;
  const auto copy_for = [&](FormatChange change) { return absl::StrCat(data_dir, "/before-upgrade-to-format-", change.to); };
  const absl::StatusOr<FormatChange> change = UpgradeSqliteJournal(
      JournalIn(data_dir), [&](FormatChange planned) { return CheckNoCopy(copy_for(planned)); },
      [&](Journal& old, FormatChange planned) {
        TRIBUTARY_RETURN_IF_ERROR(CopyFolder(old, data_dir, copy_for(planned)));
        backup = copy_for(planned);
        return absl::OkStatus();
      });
  if (!change.ok()) {
    // A disk that fails may have put the new one in its place all the same.
    return backup.empty() ? change.status() : Annotate(change.status(), absl::StrCat("the folder as it was is ", backup));
  }
  return Upgrade{change->from, change->to, backup};
}

}  // namespace tributary::coordinator
