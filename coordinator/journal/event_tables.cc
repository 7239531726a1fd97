#include "coordinator/journal/event_tables.h"

#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace tributary::coordinator {
namespace {

// Adds one more of its site in `run`, if there is room before the next write.
template <typename Noted>
void AddNote(int64_t run, const Noted& what, std::vector<std::pair<int64_t, Noted>>& notes) {
  const auto of_this_site = [&](const auto& other) { return other.first == run && other.second.site == what.site; };
  if (std::count_if(notes.begin(), notes.end(), of_this_site) < kMaxNotedOfSite) {
    notes.emplace_back(run, what);
  }
}

// Inserts all notes with the table's next numbers; then the oldest rows beyond `limit_of_site` of each site noted go, and beyond `limit` of
// all.
template <typename Noted>
absl::Status Write(Database& database, const std::string& name, const std::vector<std::pair<int64_t, Noted>>& notes,
                   Table<NumberedOfRun, Noted>& table, int64_t limit_of_site, int64_t limit) {
  if (notes.empty()) {
    return absl::OkStatus();
  }
  NumberedOfRun key;
  {
    Query newest(database, absl::StrCat("SELECT COALESCE(MAX(number), 0) FROM ", name));
    TRIBUTARY_RETURN_IF_ERROR(newest.Run());
    key.number = newest.GetInt(0);
  }
  std::set<std::pair<int64_t, std::string>> sites;
  for (const auto& [run, what] : notes) {
    ++key.number;
    key.run = run;
    TRIBUTARY_RETURN_IF_ERROR(table.Insert(key, what));
    sites.emplace(run, what.site);
  }
  for (const auto& [run, site] : sites) {
    TRIBUTARY_RETURN_IF_ERROR(
        Query(database, absl::StrCat("DELETE FROM ", name, " WHERE run = ?1 AND site = ?2 AND number <= (SELECT number FROM ", name,
                                     " WHERE run = ?1 AND site = ?2 ORDER BY number DESC LIMIT 1 OFFSET ?3)"))
            .Int(run)
            .Text(site)
            .Int(limit_of_site)
            .Run());
  }
  return Query(database,
               absl::StrCat("DELETE FROM ", name, " WHERE number <= (SELECT number FROM ", name, " ORDER BY number DESC LIMIT 1 OFFSET ?)"))
      .Int(limit)
      .Run();
}

}  // namespace

void EventTables::Note(const RunRef& run, const JournaledEvent& event) {
  JournaledEvent noted = event;
  if (format_ < kFormatWithActors && !noted.actor.empty()) {
    noted.detail = absl::StrCat("by ", noted.actor, noted.detail.empty() ? "" : ": ", noted.detail);
    noted.actor.clear();
  }
  AddNote(run.number, noted, noted_events_);
}

void EventTables::Note(const RunRef& run, const JournaledEvidence& evidence) {
  AddNote(run.number, evidence, noted_evidence_);
}

absl::Status EventTables::WriteNoted() {
  TRIBUTARY_RETURN_IF_ERROR(Write(database_, kEvents.name, noted_events_, events_, kMaxEventsOfSite, kMaxEvents));
  return Write(database_, kEvidence.name, noted_evidence_, evidence_, kMaxEvidenceOfSite, kMaxEvidence);
}

void EventTables::ForgetNoted() {
  noted_events_.clear();
  noted_evidence_.clear();
}

absl::StatusOr<std::vector<JournaledEvent>> EventTables::Events(const RunRef& run) const {
  std::vector<JournaledEvent> events;
  Query rows(database_, events_.Select("WHERE run = ? ORDER BY number"));
  rows.Int(run.number);
  while (true) {
    NumberedOfRun key;
    JournaledEvent event;
    TRIBUTARY_ASSIGN_OR_RETURN(const bool more,
                               events_.Next(rows, key, event, [&] { return absl::StrCat("run ", run.id, ": event ", key.number); }));
    if (!more) {
      return events;
    }
    events.push_back(std::move(event));
  }
}

absl::StatusOr<std::vector<JournaledEvidence>> EventTables::Evidence(const RunRef& run) const {
  std::vector<JournaledEvidence> all;
  Query rows(database_, evidence_.Select("WHERE run = ? ORDER BY number"));
  rows.Int(run.number);
  while (true) {
    NumberedOfRun key;
    JournaledEvidence evidence;
    TRIBUTARY_ASSIGN_OR_RETURN(
        const bool more, evidence_.Next(rows, key, evidence, [&] { return absl::StrCat("run ", run.id, ": evidence ", key.number); }));
    if (!more) {
      return all;
    }
    all.push_back(std::move(evidence));
  }
}

}  // namespace tributary::coordinator
