// What happened to sites, and the evidence of replicas that differed.
#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "coordinator/journal/journal_rows.h"
#include "coordinator/journal/sqlite_journal.h"

namespace tributary::coordinator {
namespace {

// Whether there is room for one more of `site` in `run` before the next write.
template <typename Noted>
bool HasRoom(const std::vector<std::pair<int64_t, Noted>>& noted, int64_t run, const std::string& site) {
  return std::count_if(noted.begin(), noted.end(), [&](const auto& other) { return other.first == run && other.second.site == site; }) <
         kMaxNotedOfSite;
}

template <typename Noted>
std::set<std::pair<int64_t, std::string>> SitesOf(const std::vector<std::pair<int64_t, Noted>>& noted) {
  std::set<std::pair<int64_t, std::string>> sites;
  for (const auto& [run, what] : noted) {
    sites.emplace(run, what.site);
  }
  return sites;
}

}  // namespace

void SqliteJournal::NoteEvent(const std::string& run_id, const JournaledEvent& event) {
  if (const absl::StatusOr<int64_t> run = Number(run_id); run.ok() && HasRoom(noted_events_, *run, event.site)) {
    noted_events_.emplace_back(*run, event);
  }
}

void SqliteJournal::NoteEvidence(const std::string& run_id, const JournaledEvidence& evidence) {
  if (const absl::StatusOr<int64_t> run = Number(run_id); run.ok() && HasRoom(noted_evidence_, *run, evidence.site)) {
    noted_evidence_.emplace_back(*run, evidence);
  }
}

absl::Status SqliteJournal::Flush() {
  if (noted_events_.empty() && noted_evidence_.empty()) {
    return absl::OkStatus();
  }
  return Write([] { return absl::OkStatus(); });
}

absl::Status SqliteJournal::WriteNoted() {
  const auto next = [this](const char* sql) -> absl::StatusOr<int64_t> {
    Query row(*database_, sql);
    TRIBUTARY_RETURN_IF_ERROR(row.Run());
    return row.GetInt(0);
  };
  const auto keep_newest = [this](const char* sql, const std::set<std::pair<int64_t, std::string>>& sites, int64_t limit) {
    for (const auto& [run, site] : sites) {
      TRIBUTARY_RETURN_IF_ERROR(Query(*database_, sql).Int(run).Text(site).Int(limit).Run());
    }
    return absl::OkStatus();
  };
  if (!noted_events_.empty()) {
    TRIBUTARY_ASSIGN_OR_RETURN(int64_t number, next("SELECT COALESCE(MAX(number), 0) FROM events"));
    for (const auto& [run, event] : noted_events_) {
      ++number;
      TRIBUTARY_RETURN_IF_ERROR(
          Query(*database_, "INSERT INTO events(number, run, unix_ms, site, kind, round, detail, crc) VALUES(?, ?, ?, ?, ?, ?, ?, ?)")
              .Int(number)
              .Int(run)
              .Int(event.unix_ms)
              .Text(event.site)
              .Text(event.kind)
              .Unsigned(event.round)
              .Text(event.detail)
              .Int(EventCrc(number, run, event))
              .Run());
    }
    TRIBUTARY_RETURN_IF_ERROR(
        keep_newest("DELETE FROM events WHERE run = ?1 AND site = ?2 AND number <= (SELECT number FROM events "
                    "WHERE run = ?1 AND site = ?2 ORDER BY number DESC LIMIT 1 OFFSET ?3)",
                    SitesOf(noted_events_), kMaxEventsOfSite));
    TRIBUTARY_RETURN_IF_ERROR(
        Query(*database_, "DELETE FROM events WHERE number <= (SELECT number FROM events ORDER BY number DESC LIMIT 1 OFFSET ?)")
            .Int(kMaxEvents)
            .Run());
  }
  if (!noted_evidence_.empty()) {
    TRIBUTARY_ASSIGN_OR_RETURN(int64_t number, next("SELECT COALESCE(MAX(number), 0) FROM evidence"));
    for (const auto& [run, evidence] : noted_evidence_) {
      ++number;
      TRIBUTARY_RETURN_IF_ERROR(Query(*database_,
                                      "INSERT INTO evidence(number, run, unix_ms, site, round, reported_hash, log_hash, software_version, "
                                      "crc) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)")
                                    .Int(number)
                                    .Int(run)
                                    .Int(evidence.unix_ms)
                                    .Text(evidence.site)
                                    .Unsigned(evidence.round)
                                    .Blob(evidence.reported_hash)
                                    .Blob(evidence.log_hash)
                                    .Text(evidence.software_version)
                                    .Int(EvidenceCrc(number, run, evidence))
                                    .Run());
    }
    TRIBUTARY_RETURN_IF_ERROR(
        keep_newest("DELETE FROM evidence WHERE run = ?1 AND site = ?2 AND number <= (SELECT number FROM evidence "
                    "WHERE run = ?1 AND site = ?2 ORDER BY number DESC LIMIT 1 OFFSET ?3)",
                    SitesOf(noted_evidence_), kMaxEvidenceOfSite));
    TRIBUTARY_RETURN_IF_ERROR(
        Query(*database_, "DELETE FROM evidence WHERE number <= (SELECT number FROM evidence ORDER BY number DESC LIMIT 1 OFFSET ?)")
            .Int(kMaxEvidence)
            .Run());
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<JournaledEvent>> SqliteJournal::Events(const std::string& run_id) {
  TRIBUTARY_ASSIGN_OR_RETURN(const int64_t run, Number(run_id));
  Query rows(*database_, "SELECT unix_ms, site, kind, round, detail, crc, number FROM events WHERE run = ? ORDER BY number");
  rows.Int(run);
  std::vector<JournaledEvent> events;
  while (true) {
    TRIBUTARY_ASSIGN_OR_RETURN(const bool more, rows.Step());
    if (!more) {
      return events;
    }
    JournaledEvent event{rows.GetInt(0), std::string(rows.GetBytes(1)), std::string(rows.GetBytes(2)), rows.GetUnsigned(3),
                         std::string(rows.GetBytes(4))};
    if (EventCrc(rows.GetInt(6), run, event) != rows.GetInt(5)) {
      return DamagedRow(absl::StrCat("run ", run_id, ": event ", rows.GetInt(6), " fails its checksum"));
    }
    events.push_back(std::move(event));
  }
}

absl::StatusOr<std::vector<JournaledEvidence>> SqliteJournal::Evidence(const std::string& run_id) {
  TRIBUTARY_ASSIGN_OR_RETURN(const int64_t run, Number(run_id));
  Query rows(*database_,
             "SELECT unix_ms, site, round, reported_hash, log_hash, software_version, crc, number FROM evidence WHERE run = ? ORDER BY "
             "number");
  rows.Int(run);
  std::vector<JournaledEvidence> all;
  while (true) {
    TRIBUTARY_ASSIGN_OR_RETURN(const bool more, rows.Step());
    if (!more) {
      return all;
    }
    JournaledEvidence evidence{rows.GetInt(0),
                               std::string(rows.GetBytes(1)),
                               rows.GetUnsigned(2),
                               std::string(rows.GetBytes(3)),
                               std::string(rows.GetBytes(4)),
                               std::string(rows.GetBytes(5))};
    if (EvidenceCrc(rows.GetInt(7), run, evidence) != rows.GetInt(6)) {
      return DamagedRow(absl::StrCat("run ", run_id, ": evidence ", rows.GetInt(7), " fails its checksum"));
    }
    all.push_back(std::move(evidence));
  }
}

}  // namespace tributary::coordinator
