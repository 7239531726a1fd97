// The tables of a journal: their columns, and what each binds to. docs/reference/journal_format.md says what they mean.
//
// Frozen: what stands here for a format is what files of that format hold, character for character, and what their checksums count. A new
// column is one line, with the new format as `since`; that format is then kNewestFormat.
#ifndef TRIBUTARY_COORDINATOR_JOURNAL_SCHEMA_H_
#define TRIBUTARY_COORDINATOR_JOURNAL_SCHEMA_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "coordinator/journal/journal.h"
#include "coordinator/journal/table.h"
#include "tributary/v1/enrolment.pb.h"

namespace tributary::coordinator {

// The first format that has JournaledEvent::actor in a column of its own.
inline constexpr int64_t kFormatWithActors = 3;
// The first in which updates and commits may name files instead of holding their bytes.
inline constexpr int64_t kFormatWithFiles = 4;

// The first format in which a commit may be without its record, pruned, and whose files can shrink.
inline constexpr int64_t kFormatWithPruning = 4;

// The first that has the tables of the audit log.
inline constexpr int64_t kFormatWithAudit = 5;

// The first that has the table of the registry's sites.
inline constexpr int64_t kFormatWithSites = 5;

// The first whose evaluations have metrics.
inline constexpr int64_t kFormatWithMetrics = 6;

struct RunKey {
  int64_t number = 0;  // order of submission; other tables name the run by it
};
using RunColumn = Column<RunKey, JournaledRun>;
inline constexpr RunColumn kRunColumns[] = {
    RunColumn::Of<&RunKey::number>("number", "INTEGER PRIMARY KEY"),
    RunColumn::Of<&JournaledRun::run_id>("run_id", "TEXT NOT NULL UNIQUE"),
    RunColumn::Of<&JournaledRun::spec>("spec", "BLOB NOT NULL"),
    RunColumn::Of<&JournaledRun::state>("state", "INTEGER NOT NULL"),
    RunColumn::Of<&JournaledRun::reason>("reason", "TEXT NOT NULL"),
    RunColumn::Of<&JournaledRun::submitted_unix_ms>("submitted_unix_ms", "INTEGER NOT NULL"),
    RunColumn::Of<&JournaledRun::finished_unix_ms>("finished_unix_ms", "INTEGER NOT NULL"),
    RunColumn::Checksum(),
};
inline constexpr TableSpec<RunKey, JournaledRun> kRuns = {"runs", kRunColumns};

// Of a table with one row, or one row a round, of a run.
struct OfRun {
  int64_t run = 0;
};

using OpenRoundColumn = Column<OfRun, JournaledRound>;
inline constexpr OpenRoundColumn kOpenRoundColumns[] = {
    OpenRoundColumn::Of<&OfRun::run>("run", "INTEGER PRIMARY KEY REFERENCES runs(number)"),
    OpenRoundColumn::Of<&JournaledRound::round>("round", "INTEGER NOT NULL"),
    OpenRoundColumn::Of<&JournaledRound::members>("members", "TEXT NOT NULL"),
    OpenRoundColumn::Checksum(),
};
inline constexpr TableSpec<OfRun, JournaledRound> kOpenRounds = {"open_rounds", kOpenRoundColumns};

struct UpdateKey {
  std::optional<int64_t> number;  // order of acceptance; absent: SQLite's next
  int64_t run = 0;
  uint64_t round = 0;
};
using UpdateColumn = Column<UpdateKey, JournaledUpdate>;
inline constexpr UpdateColumn kUpdateColumns[] = {
    UpdateColumn::Of<&UpdateKey::number>("number", "INTEGER PRIMARY KEY", Role::kUnguarded),
    UpdateColumn::Of<&UpdateKey::run>("run", "INTEGER NOT NULL REFERENCES runs(number)"),
    UpdateColumn::Of<&UpdateKey::round>("round", "INTEGER NOT NULL"),
    UpdateColumn::Of<&JournaledUpdate::site>("site", "TEXT NOT NULL"),
    UpdateColumn::Of<&JournaledUpdate::report>("report", "BLOB NOT NULL"),
    UpdateColumn::Of<&JournaledUpdate::file>("file", "TEXT NOT NULL", Role::kGuarded, kFormatWithFiles),
    UpdateColumn::Of<&JournaledUpdate::file_bytes>("file_bytes", "INTEGER NOT NULL", Role::kGuarded, kFormatWithFiles),
    UpdateColumn::Of<&JournaledUpdate::file_digest>("file_digest", "BLOB NOT NULL", Role::kGuarded, kFormatWithFiles),
    UpdateColumn::Checksum(),
    UpdateColumn::Of<&JournaledUpdate::payload>("payload", "BLOB NOT NULL"),
};
inline constexpr TableSpec<UpdateKey, JournaledUpdate> kUpdates = {"updates", kUpdateColumns, "UNIQUE(run, round, site)"};

struct CommitKey {
  int64_t run = 0;
  uint64_t round = 0;
  uint64_t record_bytes = 0;  // 0: pruned
  int64_t record_crc = 0;     // CRC-32C of the record
};
using CommitColumn = Column<CommitKey, JournaledCommit>;
inline constexpr CommitColumn kCommitColumns[] = {
    CommitColumn::Of<&CommitKey::run>("run", "INTEGER NOT NULL REFERENCES runs(number)"),
    CommitColumn::Of<&CommitKey::round>("round", "INTEGER NOT NULL"),
    CommitColumn::Of<&JournaledCommit::chain_hash>("chain_hash", "BLOB NOT NULL"),
    CommitColumn::Of<&JournaledCommit::state_hash>("state_hash", "BLOB NOT NULL"),
    CommitColumn::Of<&JournaledCommit::round_record>("round_record", "BLOB NOT NULL"),
    CommitColumn::Of<&JournaledCommit::included>("included", "TEXT NOT NULL"),
    CommitColumn::Of<&JournaledCommit::file>("file", "TEXT NOT NULL", Role::kGuarded, kFormatWithFiles),
    CommitColumn::Of<&JournaledCommit::file_bytes>("file_bytes", "INTEGER NOT NULL", Role::kGuarded, kFormatWithFiles),
    CommitColumn::Of<&CommitKey::record_bytes>("LENGTH(record)", "INTEGER", Role::kComputed),
    CommitColumn::Checksum(),
    CommitColumn::Of<&CommitKey::record_crc>("record_crc", "INTEGER NOT NULL"),
    // Last, so that reading the rest of a commit does not walk through it.
    CommitColumn::Of<&JournaledCommit::record>("record", "BLOB NOT NULL", Role::kLarge),
};
inline constexpr TableSpec<CommitKey, JournaledCommit> kCommits = {"commits", kCommitColumns, "PRIMARY KEY(run, round)"};

struct SiteTotalsRow {
  std::vector<v1::SiteStatus> sites;
};
using SiteTotalsColumn = Column<OfRun, SiteTotalsRow>;
inline constexpr SiteTotalsColumn kSiteTotalsColumns[] = {
    SiteTotalsColumn::Of<&OfRun::run>("run", "INTEGER PRIMARY KEY REFERENCES runs(number)"),
    SiteTotalsColumn::Of<&SiteTotalsRow::sites>("sites", "BLOB NOT NULL"),
    SiteTotalsColumn::Checksum(),
};
inline constexpr TableSpec<OfRun, SiteTotalsRow> kSiteTotals = {"site_totals", kSiteTotalsColumns};

struct EvaluationRow {
  uint64_t round = 0;
  double loss = 0;
  std::map<std::string, double> metrics;
};
using EvaluationColumn = Column<OfRun, EvaluationRow>;
inline constexpr EvaluationColumn kEvaluationColumns[] = {
    EvaluationColumn::Of<&OfRun::run>("run", "INTEGER NOT NULL REFERENCES runs(number)"),
    EvaluationColumn::Of<&EvaluationRow::round>("round", "INTEGER NOT NULL"),
    EvaluationColumn::Of<&EvaluationRow::loss>("loss", "REAL NOT NULL"),
    EvaluationColumn::Of<&EvaluationRow::metrics>("metrics", "BLOB NOT NULL", Role::kGuarded, kFormatWithMetrics),
    EvaluationColumn::Checksum(),
};
inline constexpr TableSpec<OfRun, EvaluationRow> kEvaluations = {"validation_losses", kEvaluationColumns, "PRIMARY KEY(run, round)"};

using SnapshotColumn = Column<OfRun, JournaledSnapshot>;
inline constexpr SnapshotColumn kSnapshotColumns[] = {
    SnapshotColumn::Of<&OfRun::run>("run", "INTEGER NOT NULL REFERENCES runs(number)"),
    SnapshotColumn::Of<&JournaledSnapshot::round>("round", "INTEGER NOT NULL"),
    SnapshotColumn::Of<&JournaledSnapshot::file>("file", "TEXT NOT NULL"),
    SnapshotColumn::Of<&JournaledSnapshot::state_hash>("state_hash", "BLOB NOT NULL"),
    SnapshotColumn::Of<&JournaledSnapshot::aggregator_file>("aggregator_file", "TEXT NOT NULL"),
    SnapshotColumn::Of<&JournaledSnapshot::aggregator_hash>("aggregator_hash", "BLOB NOT NULL"),
    SnapshotColumn::Checksum(),
};
inline constexpr TableSpec<OfRun, JournaledSnapshot> kSnapshots = {"snapshots", kSnapshotColumns, "PRIMARY KEY(run, round)"};

struct ArrivalsRow {
  std::vector<absl::Duration> plain;
  std::vector<absl::Duration> evaluating;  // of rounds with an evaluation
};
using ArrivalsColumn = Column<OfRun, ArrivalsRow>;
inline constexpr ArrivalsColumn kArrivalsColumns[] = {
    ArrivalsColumn::Of<&OfRun::run>("run", "INTEGER PRIMARY KEY REFERENCES runs(number)"),
    ArrivalsColumn::Of<&ArrivalsRow::plain>("plain", "BLOB NOT NULL"),
    ArrivalsColumn::Of<&ArrivalsRow::evaluating>("evaluating", "BLOB NOT NULL"),
    ArrivalsColumn::Checksum(),
};
inline constexpr TableSpec<OfRun, ArrivalsRow> kArrivals = {"arrivals", kArrivalsColumns};

// Of a table in which a run has any number of rows.
struct NumberedOfRun {
  int64_t number = 0;
  int64_t run = 0;
};

using EventColumn = Column<NumberedOfRun, JournaledEvent>;
inline constexpr EventColumn kEventColumns[] = {
    EventColumn::Of<&NumberedOfRun::number>("number", "INTEGER PRIMARY KEY"),
    EventColumn::Of<&NumberedOfRun::run>("run", "INTEGER NOT NULL REFERENCES runs(number)"),
    EventColumn::Of<&JournaledEvent::unix_ms>("unix_ms", "INTEGER NOT NULL"),
    EventColumn::Of<&JournaledEvent::site>("site", "TEXT NOT NULL"),
    EventColumn::Of<&JournaledEvent::actor>("actor", "TEXT NOT NULL", Role::kGuarded, kFormatWithActors),
    EventColumn::Of<&JournaledEvent::kind>("kind", "TEXT NOT NULL"),
    EventColumn::Of<&JournaledEvent::round>("round", "INTEGER NOT NULL"),
    EventColumn::Of<&JournaledEvent::detail>("detail", "TEXT NOT NULL"),
    EventColumn::Checksum(),
};
inline constexpr TableSpec<NumberedOfRun, JournaledEvent> kEvents = {"events", kEventColumns};

using EvidenceColumn = Column<NumberedOfRun, JournaledEvidence>;
inline constexpr EvidenceColumn kEvidenceColumns[] = {
    EvidenceColumn::Of<&NumberedOfRun::number>("number", "INTEGER PRIMARY KEY"),
    EvidenceColumn::Of<&NumberedOfRun::run>("run", "INTEGER NOT NULL REFERENCES runs(number)"),
    EvidenceColumn::Of<&JournaledEvidence::unix_ms>("unix_ms", "INTEGER NOT NULL"),
    EvidenceColumn::Of<&JournaledEvidence::site>("site", "TEXT NOT NULL"),
    EvidenceColumn::Of<&JournaledEvidence::round>("round", "INTEGER NOT NULL"),
    EvidenceColumn::Of<&JournaledEvidence::reported_hash>("reported_hash", "BLOB NOT NULL"),
    EvidenceColumn::Of<&JournaledEvidence::log_hash>("log_hash", "BLOB NOT NULL"),
    EvidenceColumn::Of<&JournaledEvidence::software_version>("software_version", "TEXT NOT NULL"),
    EvidenceColumn::Checksum(),
};
inline constexpr TableSpec<NumberedOfRun, JournaledEvidence> kEvidence = {"evidence", kEvidenceColumns};

struct AuditRecordKey {
  uint64_t number = 0;  // its index in the log
};
struct AuditRecordRow {
  std::string record;  // AuditRecord
};
using AuditRecordColumn = Column<AuditRecordKey, AuditRecordRow>;
inline constexpr AuditRecordColumn kAuditRecordColumns[] = {
    AuditRecordColumn::Of<&AuditRecordKey::number>("number", "INTEGER PRIMARY KEY"),
    AuditRecordColumn::Of<&AuditRecordRow::record>("record", "BLOB NOT NULL"),
    AuditRecordColumn::Checksum(),
};
inline constexpr TableSpec<AuditRecordKey, AuditRecordRow> kAuditRecords = {"audit_records", kAuditRecordColumns, "", kFormatWithAudit};

// Nodes of the Merkle tree below this level are computed from the at most 64 records under them.
inline constexpr int kLeastAuditLevel = 6;

struct AuditNodeKey {
  int64_t level = 0;
  uint64_t position = 0;
};
struct AuditNodeRow {
  Digest hash{};
};
using AuditNodeColumn = Column<AuditNodeKey, AuditNodeRow>;
inline constexpr AuditNodeColumn kAuditNodeColumns[] = {
    AuditNodeColumn::Of<&AuditNodeKey::level>("level", "INTEGER NOT NULL"),
    AuditNodeColumn::Of<&AuditNodeKey::position>("position", "INTEGER NOT NULL"),
    AuditNodeColumn::Of<&AuditNodeRow::hash>("hash", "BLOB NOT NULL"),
    AuditNodeColumn::Checksum(),
};
inline constexpr TableSpec<AuditNodeKey, AuditNodeRow> kAuditNodes = {"audit_nodes", kAuditNodeColumns, "PRIMARY KEY(level, position)",
                                                                      kFormatWithAudit};

// One row.
struct AuditHeadKey {
  int64_t number = 1;
};
struct AuditHeadRow {
  std::string head;  // TreeHead
};
using AuditHeadColumn = Column<AuditHeadKey, AuditHeadRow>;
inline constexpr AuditHeadColumn kAuditHeadColumns[] = {
    AuditHeadColumn::Of<&AuditHeadKey::number>("number", "INTEGER PRIMARY KEY"),
    AuditHeadColumn::Of<&AuditHeadRow::head>("head", "BLOB NOT NULL"),
    AuditHeadColumn::Checksum(),
};
inline constexpr TableSpec<AuditHeadKey, AuditHeadRow> kAuditHeads = {"audit_heads", kAuditHeadColumns, "", kFormatWithAudit};

struct SiteKey {
  std::string name;
};
struct SiteRow {
  v1::SiteRecord record;
};
using SiteColumn = Column<SiteKey, SiteRow>;
inline constexpr SiteColumn kSiteColumns[] = {
    SiteColumn::Of<&SiteKey::name>("name", "TEXT PRIMARY KEY NOT NULL"),
    SiteColumn::Of<&SiteRow::record>("record", "BLOB NOT NULL"),
    SiteColumn::Checksum(),
};
inline constexpr TableSpec<SiteKey, SiteRow> kSites = {"sites", kSiteColumns, "", kFormatWithSites};

// Calls `visit` with every table of the format, in the order in which a file has them; stops at its first error and returns it.
template <typename Visit>
absl::Status VisitTables(int64_t format, Visit visit) {
  absl::Status status;
  const auto next = [&](const auto& spec) {
    status = spec.since <= format ? visit(spec) : absl::OkStatus();
    return status.ok();
  };
  static_cast<void>(next(kRuns) && next(kOpenRounds) && next(kUpdates) && next(kCommits) && next(kSiteTotals) && next(kEvaluations) &&
                    next(kSnapshots) && next(kArrivals) && next(kEvents) && next(kEvidence) && next(kAuditRecords) && next(kAuditNodes) &&
                    next(kAuditHeads) && next(kSites));
  return status;
}

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_JOURNAL_SCHEMA_H_
