// The active run as the coordinator holds it: the replica state, the sum of the open round, and the log that makes both durable.
//
// Order of things, so that nothing acknowledged is ever lost: an update is valid, then durable, then summed; a commit is made, applied,
// then durable, then broadcast; a snapshot is a file, then journaled.
#ifndef TRIBUTARY_COORDINATOR_RUN_RUN_HOST_H_
#define TRIBUTARY_COORDINATOR_RUN_RUN_HOST_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/checksum.h"
#include "common/clock.h"
#include "common/stored_bytes.h"
#include "coordinator/journal/journal.h"
#include "coordinator/journal/snapshot_store.h"
#include "coordinator/run/incoming_update.h"
#include "coordinator/run/round_engine.h"
#include "coordinator/run/run_log.h"
#include "optim/aggregator.h"
#include "optim/apply.h"
#include "optim/commit.h"
#include "optim/replica_state.h"
#include "optim/state_hash.h"
#include "tributary/v1/config.pb.h"
#include "tributary/v1/session.pb.h"

namespace tributary::coordinator {

// A valid update, and how much of it the sum of its round takes.
struct MeasuredUpdate {
  double norm = 0;   // 0 if nobody asks for it
  double share = 1;  // optim::Aggregator::ShareOf
};

// For people: of one whose share is below 1.
std::string WhyBounded(const MeasuredUpdate& update);

// A commit on its way into the log.
struct PendingCommit {
  optim::CommitHead head;
  SharedBytes record;
  std::string file;  // that the record is in; empty: in memory
  Digest chain_hash{};
  Digest state_hash{};
};

// Makes the commit of a round again from the updates that went into it: the server-side residual in `aggregator`, of the round before,
// moves with it. `parameters`: the round's (timed_steps.h); its learning rate is the commit's. Returns how many bytes they are. DataLoss,
// exit code kDamaged: they are not all there, or make another commit.
absl::StatusOr<uint64_t> Reaggregate(const RunModel& model, Journal& journal, const SnapshotStore& store, const std::string& run_id,
                                     optim::RoundParameters parameters, const JournaledCommit& commit, optim::Aggregator& aggregator);
// Brings a new aggregator into its state of that snapshot. DataLoss, exit code kDamaged.
absl::Status RestoreAggregator(const SnapshotStore& store, const JournaledSnapshot& snapshot, optim::Aggregator& aggregator);

// Not thread-safe. After an error of a method that writes, the object is of no further use: the process must stop (the journal is intact).
class RunHost {
 public:
  // When snapshots are taken, and what of the past stays.
  struct Keeping {
    v1::SnapshotConfig snapshots;
    v1::LogConfig log;
    // Records longer than this are kept in files, where the mode makes them piece by piece.
    uint64_t max_inline = 0;
  };
  // What an accepted update of the open round leaves behind besides its part of the sum.
  struct Accepted {
    std::string digest;  // SHA-256 of the payload
    v1::UpdateReport report;
    SharedBytes stored;  // what the sum was given, if it is to be taken back; null: the payload is in the journal's table
  };

  // Rebuilds the run from the journal (recovery.cc): newest snapshot, commits since, and the sum of the open round. Every recomputed commit
  // and the state that they lead to must be the journaled one. `journal`, `store` and `clock` must outlive the host.
  // DataLoss, exit code kDamaged: journal or snapshot damaged, with the place. FailedPrecondition: the run was never fully submitted.
  static absl::StatusOr<std::unique_ptr<RunHost>> Open(const JournaledRun& run, const Keeping& keeping, Journal* journal,
                                                       SnapshotStore* store, const Clock* clock);
  RunHost(const RunHost&) = delete;
  RunHost& operator=(const RunHost&) = delete;

  const std::string& run_id() const { return run_id_; }
  // As the run was when it was taken up: that it was extended since does not show here.
  const RunModel& model() const { return *model_; }
  // For whoever checks a payload on another thread; it does not change.
  std::shared_ptr<const RunModel> shared_model() const { return model_; }
  // Whether long updates are to be kept in files from the start: their mode reads them there.
  bool KeepsUpdateFiles() const;
  const optim::ReplicaState& state() const { return state_; }
  uint64_t round() const { return state_.round; }
  // Of state[round()], as protobuf bytes.
  const std::string& state_hash() const { return hashes_.back(); }
  // Of state[round]; `round` is at most round().
  const std::string& StateHashAt(uint64_t round) const { return hashes_[round]; }
  RunLog& log() { return log_; }
  SnapshotStore& files() const { return *store_; }

  // Where the run stands, for its engine.
  RunPosition position() const;
  // Members of the open round; without one, the contributors of the last commit: who is likely to come back after a restart.
  absl::StatusOr<std::vector<std::string>> LikelySites();
  const optim::RoundParameters& parameters() const { return parameters_; }
  // Of any round up to the open one; in a pipelined run also of the next.
  optim::RoundParameters ParametersOf(uint64_t round) const;
  // By site.
  const std::map<std::string, Accepted>& accepted() const { return accepted_; }
  std::map<std::string, v1::UpdateReport> reports() const;

  // Makes the round durable and opens its sum.
  absl::Status StartRound(uint64_t round, const std::vector<std::string>& members);
  // Whether the site's payload is a valid update, of a norm that the open round takes, and the report gives it a weight; nothing changes.
  // InvalidArgument; OutOfRange: the norm. A payload in a file was measured before, and what was wrong with it then is wrong now.
  absl::StatusOr<MeasuredUpdate> CheckUpdate(const std::string& site, const IncomingUpdate& update) const;
  // Checked updates, whose files, where they are in some, are durable: durable together, then summed. `norms` are those that were measured,
  // and `accepted` names their digests, in the same order.
  absl::Status AcceptUpdates(absl::Span<const JournaledUpdate> updates, absl::Span<const double> norms, const UpdatesAccepted& accepted);

  // The three steps of a commit: make it from the sum, apply it, append it to the log.
  absl::StatusOr<PendingCommit> MakeCommit();
  absl::Status ApplyCommit(PendingCommit& pending);
  absl::Status AppendCommit(const PendingCommit& pending, const v1::RoundRecord& record, std::vector<v1::SiteStatus> site_totals,
                            Arrivals arrivals);

  // Takes note, between two rounds, of what SaveSnapshot needs of the aggregator, so that it may follow when the next round has begun.
  void PrepareSnapshot();
  bool has_prepared_snapshot() const { return prepared_aggregator_.has_value(); }
  // Snapshot of the current state, unless there is one: prepared, or between two rounds, and before the next commit is made. Prunes older
  // ones, but not those of the rounds `wanted`, and the log.
  absl::Status SaveSnapshot(const std::set<uint64_t>& wanted);
  // Rounds, bytes of commits and updates, or time to replay since the newest snapshot are as many as the configuration allows; a bound of 0
  // is none.
  bool SnapshotDue() const;
  // How long a restart would take to replay the rounds since the newest snapshot, as measured when they were made (or replayed).
  absl::Duration replay_cost() const { return replay_cost_; }

  // Whether `state_hash` is that of state[round] in this log.
  bool Agrees(uint64_t round, absl::string_view state_hash) const;
  // How a site gets to the current state, or nearer to it, in the fewest bytes. `reason`: why it must start over.
  v1::SyncPlan PlanSync(const std::optional<v1::HeldState>& held, absl::string_view reason) const;
  // Whether the log still has every commit after that round.
  bool LeadsOnFrom(uint64_t round) const { return round >= pruned_; }
  // Whether a plan made earlier is still one to go on with: what it names is there, and the commits since its snapshot are not more bytes
  // than a snapshot is. A slow line that breaks may need longer than the time between two snapshots, or two rounds: it must find what it
  // has begun to fetch.
  bool StillServes(const v1::SyncPlan& plan) const;
  // The newest round, at most the last commit, that holds an update of this site; 0: none. A site's pending update is of this round, or was
  // not included: nothing is sent before it is saved as the newest there (worker/state_keeper.h), and none after it before its own fate is
  // known.
  absl::StatusOr<uint64_t> LastIncluded(const std::string& site);
  // The journaled record. NotFound. Of a pruned round: without its bytes.
  absl::StatusOr<JournaledCommit> Commit(uint64_t round) { return journal_->Commit(run_id_, round); }

 private:
  RunHost(const JournaledRun& run, std::shared_ptr<const RunModel> model, const Keeping& keeping, Journal* journal, SnapshotStore* store,
          const Clock* clock);

  // recovery.cc
  absl::Status Recover();
  absl::Status CheckSummaries(const std::vector<CommitSummary>& summaries);
  absl::StatusOr<const JournaledSnapshot*> LoadStart(const std::vector<JournaledSnapshot>& snapshots);
  absl::Status Replay(const std::vector<CommitSummary>& summaries, const JournaledSnapshot& start, const JournaledSnapshot& newest);
  // Returns how many bytes its updates have.
  absl::StatusOr<uint64_t> ResumeOpenRound();

  absl::Status PruneSnapshots(const std::set<uint64_t>& wanted);
  absl::Status PruneLog();
  // A record or a payload went into the log.
  void CountLogged(uint64_t bytes);
  // Whether the commit of the open sum goes into a file.
  bool IsLong() const;
  // A write of the journal that prunes updates or commits; then their files go.
  absl::Status WithTheirFiles(absl::FunctionRef<absl::Status()> prune);

  const std::string run_id_;
  const std::shared_ptr<const RunModel> model_;  // at a fixed address: log_ and aggregator_ point into it
  const Keeping keeping_;
  Journal* const journal_;
  SnapshotStore* const store_;
  const Clock* const clock_;
  RunLog log_;
  std::unique_ptr<optim::Aggregator> aggregator_;

  optim::ReplicaState state_;
  optim::BlockHashes block_hashes_;  // of state_, after the first commit
  Digest chain_hash_{};
  // By round, 0..round(): the state's hash as protobuf bytes, and the bytes of all records up to it.
  std::vector<std::string> hashes_;
  std::vector<uint64_t> record_bytes_;
  std::vector<uint32_t> local_steps_;                // that the rounds' records tell, from round 0 on, which has none
  std::map<uint64_t, JournaledSnapshot> snapshots_;  // journaled, by round
  uint64_t pruned_ = 0;                              // records up to that of this round are gone
  // Since the newest snapshot.
  absl::Duration replay_cost_;
  uint64_t log_bytes_ = 0;  // of commits and updates
  std::optional<std::string> prepared_aggregator_;
  std::map<std::string, uint64_t> last_included_;  // by site, as far as it was seen

  uint64_t open_round_ = 0;  // 0: none
  std::vector<std::string> members_;
  optim::RoundParameters parameters_;
  std::map<std::string, Accepted> accepted_;
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_RUN_RUN_HOST_H_
