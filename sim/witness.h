// Remembers what the coordinator's journal acknowledged, and holds the coordinator, its journal after every restart, and the sites to it.
//
// It makes every commit again from the updates that were acknowledged, and moves a state of its own by it: so a lost, a forgotten or a
// doubled update is seen at the commit that lacks or repeats it.
#ifndef TRIBUTARY_SIM_WITNESS_H_
#define TRIBUTARY_SIM_WITNESS_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/checksum.h"
#include "coordinator/journal/journal.h"
#include "coordinator/run/run_log.h"
#include "optim/aggregator.h"
#include "optim/apply.h"
#include "optim/replica_state.h"
#include "optim/state_hash.h"
#include "sim/world.h"
#include "tributary/v1/config.pb.h"

namespace tributary::sim {

// One run as its journal acknowledged it.
struct WitnessedRun {
  coordinator::JournaledRun journaled;
  std::unique_ptr<coordinator::RunModel> model;
  std::unique_ptr<optim::Aggregator> aggregator;
  optim::ReplicaState state;
  Digest chain{};
  std::vector<std::string> hashes;                 // of state[i], raw bytes
  std::vector<std::vector<std::string>> included;  // sites of commit i + 1
  coordinator::JournaledEvaluations evaluations;
  std::vector<uint32_t> local_steps = {0};  // that the record of commit i tells
  std::optional<coordinator::JournaledRound> open;
  std::vector<coordinator::JournaledUpdate> updates;  // of the open round, in the order acknowledged
  bool broken = false;                                // something was wrong; nothing more can be derived

  // Since the newest snapshot.
  uint64_t rounds_to_replay = 0;
  uint64_t bytes_to_replay = 0;
  absl::Duration time_to_replay;   // at least, of what this process of the coordinator has done
  bool committed_by_this = false;  // the newest commit is of this process
  std::string overdue;             // why there must be a snapshot before the next commit; empty: none need be

  // Where the log stood after each commit, if logs are taken back here.
  struct Standing {
    Digest chain{};
    optim::ReplicaState state;
    std::string aggregator;
  };
  std::vector<Standing> past;
  // What was in the log and is not any more: (round, hash), (round, site).
  std::set<std::pair<uint64_t, std::string>> states_taken_back;
  std::set<std::pair<uint64_t, std::string>> updates_taken_back;

  uint64_t round() const { return hashes.empty() ? 0 : hashes.size() - 1; }
  bool Included(const std::string& site, uint64_t round) const;
  bool over() const;
};

// Not thread-safe. Outlives the journals.
class Witness {
 public:
  explicit Witness(World* world) : world_(world) {}

  // Passes everything on to `journal`, and remembers what it acknowledges.
  std::unique_ptr<coordinator::Journal> Watch(std::unique_ptr<coordinator::Journal> journal);
  // That a journal which was opened again holds what was acknowledged: all of it, and at most the one write besides that a crash left
  // unanswered (which then counts as acknowledged).
  void Compare(coordinator::Journal& journal);

  // `tributary journal truncate-to` was done. `residual_known`: as it says.
  void OnTakenBack(const std::string& run_id, uint64_t round, bool residual_known);

  const WitnessedRun* Find(const std::string& run_id) const;
  const std::map<std::string, WitnessedRun>& runs() const { return runs_; }
  // All runs that were submitted are over.
  bool AllOver() const;
  uint64_t commits() const { return commits_; }
  // Told of each commit, if set.
  std::function<void(const v1::RoundRecord& record)> on_commit;
  // When snapshots are due, and the least time that one piece of a round takes to replay.
  v1::SnapshotConfig snapshots;
  absl::Duration tick;
  // The coordinator's, of initial weights.
  std::string initial_weights_dir;
  // Where the files are that the journal names.
  std::unique_ptr<FileStore> files;
  // Whether logs may be taken back here: it takes memory.
  bool keeps_past = false;

 private:
  friend class WatchedJournal;
  void OnRun(const coordinator::JournaledRun& run);
  void OnState(const std::string& run_id, v1::RunState state, absl::string_view reason);
  void OnExtended(const coordinator::JournaledRun& run);
  void OnRound(const std::string& run_id, const coordinator::JournaledRound& round);
  void OnUpdate(const std::string& run_id, uint64_t round, coordinator::JournaledUpdate update);
  void OnCommit(const std::string& run_id, uint64_t round, coordinator::JournaledCommit commit);
  // That `payload`, of an update or a commit, is not longer than the run's budget allows.
  void CheckBudget(const WitnessedRun& run, const std::string& payload);
  void OnSnapshot(const std::string& run_id);
  void OnEvaluation(const std::string& run_id, uint64_t round, const coordinator::JournaledEvaluation& evaluation) {
    runs_.at(run_id).evaluations[round] = evaluation;
  }
  // With the bytes of its file, if it is in one, in the place of that.
  void Inline(coordinator::JournaledUpdate& update);
  void Inline(coordinator::JournaledCommit& commit);
  std::string BytesOf(const std::string& file);
  // Whether a snapshot is due: it may follow the start of a round, and not its commit.
  void CheckReplay(const std::string& run_id, WitnessedRun& run);
  void KeepPast(WitnessedRun& run) const;
  void CompareRun(coordinator::Journal& journal, const coordinator::JournaledRun& found);
  // False after reporting a violation.
  bool Holds(bool condition, absl::string_view invariant, const std::string& detail);

  World* const world_;
  std::map<std::string, WitnessedRun> runs_;
  uint64_t commits_ = 0;
};

}  // namespace tributary::sim

#endif  // TRIBUTARY_SIM_WITNESS_H_
