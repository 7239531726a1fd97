// The durable log of runs, and the registry of sites. What a method here acknowledged survives a crash at any later instruction.
//
// coordinator/journal/open_journal.h opens one: SQLite (WAL, synchronous=FULL), its format in docs/reference/journal_format.md.
#ifndef TRIBUTARY_COORDINATOR_JOURNAL_JOURNAL_H_
#define TRIBUTARY_COORDINATOR_JOURNAL_JOURNAL_H_

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/checksum.h"
#include "coordinator/journal/audit_store.h"
#include "optim/layout.h"
#include "proto/audit/signed_update.h"
#include "proto/run_state.h"
#include "tributary/v1/enrolment.pb.h"
#include "tributary/v1/run.pb.h"
#include "tributary/v1/session.pb.h"

namespace tributary::coordinator {

struct JournaledRun {
  std::string run_id;
  v1::RunSpec spec;
  v1::RunState state = v1::SUBMITTED;
  std::string reason;
  int64_t submitted_unix_ms = 0;
  int64_t finished_unix_ms = 0;
};

// A round that was started and not yet committed.
struct JournaledRound {
  uint64_t round = 0;
  std::vector<std::string> members;  // sites
};

// Its payload is in the journal, or, where KeepsFiles, in a file that the journal names: the writer has made that durable before.
struct JournaledUpdate {
  std::string site;
  std::string payload;
  v1::UpdateReport report;
  std::string file = {};  // SnapshotStore's name; empty: none
  uint64_t file_bytes = 0;
  Digest file_digest{};  // SHA-256 of the file
  // For whoever keeps a log of who sent what; not read back.
  std::string base_state_hash = {};
  UpdateProof proof = {};

  uint64_t bytes() const { return payload.size() + file_bytes; }
};

// How long after their round's start the latest updates came, oldest first: what the adaptive deadline looks back on. Rounds with an
// evaluation ([1]) apart.
using Arrivals = std::array<std::vector<absl::Duration>, 2>;

struct JournaledCommit {
  std::string record;                       // optim::EncodeCommit; empty: it is in `file`, as with JournaledUpdate
  Digest chain_hash{};                      // optim::ChainHash of the log up to here
  Digest state_hash{};                      // of state[round]
  v1::RoundRecord round_record;             // without val_loss and metrics: see SetEvaluation
  std::vector<std::string> included;        // sites whose updates it holds, ascending: who gets which receipt on asking again
  std::vector<v1::SiteStatus> site_totals;  // counters of all sites of the run so far; read back with SiteTotals, not with Commit
  Arrivals arrivals;                        // the latest; read back with LatestArrivals, not with Commit
  std::string file = {};
  uint64_t file_bytes = 0;

  uint64_t bytes() const { return record.size() + file_bytes; }
};

// What the journal knows of a commit besides its bytes.
struct CommitSummary {
  uint64_t round = 0;
  uint64_t record_bytes = 0;  // 0: pruned
  Digest chain_hash{};
  Digest state_hash{};
  v1::RoundRecord round_record;
};

struct JournaledSnapshot {
  uint64_t round = 0;
  std::string file;  // name inside the snapshot folder
  Digest state_hash{};
  std::string aggregator_file;  // of optim::Aggregator::SaveState at this round; empty: as a new aggregator (round 0)
  Digest aggregator_hash{};     // SHA-256 of that file
};

// Of a state on the validation splits: means over the sites that reported.
struct JournaledEvaluation {
  double loss = 0;
  std::map<std::string, double> metrics = {};  // by name; nothing where the journal has no place for them (KeepsMetrics)

  bool operator==(const JournaledEvaluation&) const = default;
};
using JournaledEvaluations = std::map<uint64_t, JournaledEvaluation>;  // by round

// What happened to a site or its update and follows from no commit (joined, left, refused, quarantined, resynchronised, late, rejected,
// conflicting), or
// what an operator did to the run (submitted, paused, resumed, extended, stopped).
struct JournaledEvent {
  int64_t unix_ms = 0;
  std::string site;  // empty: an operator's act
  std::string kind;
  uint64_t round = 0;
  std::string detail;  // why, for people
  // The operator who acted, by the name in the certificate; empty: nobody did. A journal of format 2 has no column for it: it comes back in
  // front of `detail`, as "by NAME: ".
  std::string actor = {};
  // Of a "conflicting" update, as JournaledUpdate's.
  std::string base_state_hash = {};
  UpdateProof proof = {};
};

// What was done to a site of the registry.
struct SiteAct {
  std::string actor;  // an operator, by the name in the certificate; empty: the coordinator itself, as was agreed before
  std::string act;    // "added", "approved", "suspended", "resumed", "revoked", "given a token", "enrolled", "certified"
  std::string detail;
};

// That a replica was in another state than the log's.
struct JournaledEvidence {
  int64_t unix_ms = 0;
  std::string site;
  uint64_t round = 0;            // of the state that the site reported
  std::string reported_hash;     // as it came
  std::string log_hash;          // of state[round]; empty: the log has no such round
  std::string software_version;  // of the worker
};

using CopyProgress = std::function<absl::Status(uint64_t done, uint64_t total)>;

// Not thread-safe: used from the coordinator's executor (reads for downloads too). Every write is durable when it returns OK.
// Errors of all writes: ResourceExhausted (disk full; nothing was written), Internal (storage), exit code kStorage.
// DataLoss, exit code kDamaged: the journal fails its checks.
class Journal {
 public:
  virtual ~Journal() = default;

  virtual absl::Status AddRun(const JournaledRun& run) = 0;
  virtual absl::Status SetRunState(const std::string& run_id, v1::RunState state, absl::string_view reason, int64_t finished_unix_ms) = 0;
  // In place of all that AddRun and SetRunState wrote of it, at once.
  virtual absl::Status ReplaceRun(const JournaledRun& run) = 0;
  // Oldest first.
  virtual absl::StatusOr<std::vector<JournaledRun>> Runs() = 0;

  // The registry of sites. Whether it has a place here: a journal of format 4 or older has none.
  virtual bool KeepsSites() const = 0;
  // In place of the site of the same name; `act` is what made it so, for whoever keeps a log of such. FailedPrecondition: no place.
  virtual absl::Status PutSite(const v1::SiteRecord& site, const SiteAct& act) = 0;
  // By name; none where there is no place.
  virtual absl::StatusOr<std::vector<v1::SiteRecord>> Sites() = 0;

  // Whether updates and commits may name files: a journal of format 3 or older has no place for them.
  virtual bool KeepsFiles() const = 0;

  // Replaces the open round of the run, if any, and drops that round's updates if its number differs.
  virtual absl::Status StartRound(const std::string& run_id, const JournaledRound& round) = 0;
  virtual absl::StatusOr<std::optional<JournaledRound>> OpenRound(const std::string& run_id) = 0;

  // In one durable write: those that came together share what it costs. Idempotent for the same payload. AlreadyExists: another payload of
  // such a site for this round, and nothing was written.
  virtual absl::Status AddUpdates(const std::string& run_id, uint64_t round, absl::Span<const JournaledUpdate> updates) = 0;
  absl::Status AddUpdate(const std::string& run_id, uint64_t round, const JournaledUpdate& update) {
    return AddUpdates(run_id, round, absl::MakeConstSpan(&update, 1));
  }
  // Calls `visit` for the updates of a round in the order accepted, holding one at a time; stops at its first error and returns it. Rounds
  // after the newest snapshot keep theirs (recovery needs them); older ones may be pruned.
  virtual absl::Status VisitUpdates(const std::string& run_id, uint64_t round,
                                    const std::function<absl::Status(const JournaledUpdate&)>& visit) = 0;

  // Closes the open round. FailedPrecondition: not the round after the newest commit.
  virtual absl::Status AddCommit(const std::string& run_id, uint64_t round, const JournaledCommit& commit) = 0;
  // 0: none.
  virtual absl::StatusOr<uint64_t> LastCommit(const std::string& run_id) = 0;
  // The newest round whose commit holds an update of this site; 0: none does.
  virtual absl::StatusOr<uint64_t> LastIncluded(const std::string& run_id, const std::string& site) = 0;
  // NotFound. Of a pruned round: without its record.
  virtual absl::StatusOr<JournaledCommit> Commit(const std::string& run_id, uint64_t round) = 0;
  // Calls `visit` for commits first..last in order; stops at its first error and returns it. NotFound: not all are there, or pruned. Checks
  // that each continues the chain, but for those whose record is in a file: whoever reads it must.
  virtual absl::Status VisitCommits(const std::string& run_id, uint64_t first, uint64_t last,
                                    const std::function<absl::Status(uint64_t round, const JournaledCommit&)>& visit) = 0;

  // Of every commit, ascending, without reading the records.
  virtual absl::StatusOr<std::vector<CommitSummary>> CommitSummaries(const std::string& run_id) = 0;
  // Drops the records of the oldest commits up to that of `last`, all at once; what else is known of those rounds stays, their hashes
  // too, so that the chain is still checked from the first record that is kept. No more than about kMaxPrunedAtOnce bytes go in one call.
  // Returns the newest pruned round. FailedPrecondition: there is no snapshot of `last` or later, or the journal cannot (CanPrune).
  virtual absl::StatusOr<uint64_t> PruneCommits(const std::string& run_id, uint64_t last) = 0;
  // The newest round whose record was pruned, and with it all before; 0: none.
  virtual absl::StatusOr<uint64_t> PrunedThrough(const std::string& run_id) = 0;
  // Not in a format of earlier releases, which would take a pruned log for a damaged one.
  virtual bool CanPrune() const = 0;

  // The files that updates and commits of the run name.
  virtual absl::StatusOr<std::vector<std::string>> PayloadFiles(const std::string& run_id) = 0;
  // Counters of all sites as the newest commit (or ReplaceAccounts) left them; empty before.
  virtual absl::StatusOr<std::vector<v1::SiteStatus>> SiteTotals(const std::string& run_id) = 0;
  // Replaces the round record of the newest commit and the counters: at the end of a run, for the bytes that moved after that commit.
  // FailedPrecondition: `round_record.round` is not the newest commit.
  virtual absl::Status ReplaceAccounts(const std::string& run_id, const v1::RoundRecord& round_record,
                                       const std::vector<v1::SiteStatus>& site_totals) = 0;

  // Of the newest commit; empty before.
  virtual absl::StatusOr<Arrivals> LatestArrivals(const std::string& run_id) = 0;

  // Kept in memory and made durable with the next write of any kind: what a site can cause as often as it likes must not cost an fsync each
  // time, nor push out what is known of others. A crash loses what was not yet written; of one site, more than kMaxNotedOfSite between two
  // writes are dropped.
  virtual void NoteEvent(const std::string& run_id, const JournaledEvent& event) = 0;
  virtual void NoteEvidence(const std::string& run_id, const JournaledEvidence& evidence) = 0;
  // Where the audit log's rows are noted and read; null: the journal is of a format without it.
  virtual AuditStore* audit() = 0;
  // Writes what was noted.
  virtual absl::Status Flush() = 0;
  // Oldest first; the newest kMaxEventsOfSite and kMaxEvidenceOfSite of a site in a run are kept, kMaxEvents and kMaxEvidence of all.
  // Without those not yet written.
  virtual absl::StatusOr<std::vector<JournaledEvent>> Events(const std::string& run_id) = 0;
  virtual absl::StatusOr<std::vector<JournaledEvidence>> Evidence(const std::string& run_id) = 0;

  // Whether evaluations have metrics here: a journal of format 5 or older has no place for them.
  virtual bool KeepsMetrics() const = 0;
  // Of state[round]; round 0 is the initial weights. Replaces an earlier one.
  virtual absl::Status SetEvaluation(const std::string& run_id, uint64_t round, const JournaledEvaluation& evaluation) = 0;
  virtual absl::StatusOr<JournaledEvaluations> Evaluations(const std::string& run_id) = 0;

  // Records a snapshot whose file is already durable, and prunes the updates of rounds up to it.
  virtual absl::Status AddSnapshot(const std::string& run_id, const JournaledSnapshot& snapshot) = 0;
  virtual absl::Status RemoveSnapshot(const std::string& run_id, uint64_t round) = 0;
  // Ascending by round.
  virtual absl::StatusOr<std::vector<JournaledSnapshot>> Snapshots(const std::string& run_id) = 0;

  // For `tributary journal`.

  // SQLite's own check of the whole file, and every check of the audit log.
  virtual absl::Status CheckIntegrity() = 0;
  // Every check of every row of a run that needs the journal alone, however long it takes.
  virtual absl::Status CheckRun(const JournaledRun& run) = 0;
  // Writes a whole and durable copy of what this connection sees to `path`, where no file may be. `progress` is told now and then how many
  // of the journal's bytes are copied; an error of it ends the work. After an error a part of the copy may be there.
  virtual absl::Status BackUp(const std::string& path, const CopyProgress& progress) = 0;
  // Takes back everything after commit `round`, sound or not: later commits, updates, snapshots and losses, and the open round. What else
  // of this run is damaged and can be done without goes too (losses, counters, arrivals, events, evidence), and is returned by name. A run
  // that was over or being stopped is queued again. `settle` then sees the journal as it will be, and returns the snapshot to go on from
  // (its files durable), or nothing if there is one; an error of it takes all back. DataLoss, exit code kDamaged: a commit up to
  // `round` is missing.
  virtual absl::StatusOr<std::vector<std::string>> Truncate(
      const std::string& run_id, uint64_t round, const std::function<absl::StatusOr<std::optional<JournaledSnapshot>>()>& settle) = 0;
};

inline constexpr int64_t kMaxEvents = 10'000;
inline constexpr int64_t kMaxEvidence = 1'000;
inline constexpr int64_t kMaxEventsOfSite = 200;
inline constexpr int64_t kMaxEvidenceOfSite = 20;
inline constexpr int64_t kMaxNotedOfSite = 100;
inline constexpr uint64_t kMaxPrunedAtOnce = uint64_t{1} << 30;

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_JOURNAL_JOURNAL_H_
