// `tributary journal`: a coordinator's data folder checked and shown, also in service; and of one that is stopped, taken back to an earlier
// round, and upgraded.
#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <ostream>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/table.h"
#include "common/checksum.h"
#include "common/exit_codes.h"
#include "common/status_macros.h"
#include "coordinator/journal_tool.h"

namespace tributary::cli {
namespace {

using Json = nlohmann::ordered_json;
using coordinator::CommitSummary;
using coordinator::Journal;
using coordinator::JournaledCommit;
using coordinator::JournaledEvent;
using coordinator::JournaledEvidence;
using coordinator::JournaledRun;
using coordinator::JournaledSnapshot;

constexpr size_t kShortHash = 12;
// Of a run's latest events, as text; JSON has them all.
constexpr size_t kEventsShown = 20;

struct JournalOptions {
  std::string data_dir;
  std::string run;
  uint64_t round = 0;
  bool round_given = false;
  bool yes = false;
};

std::string Print(const Json& json) {
  return json.dump(-1, ' ', true, Json::error_handler_t::replace);
}

std::string TimeOf(int64_t unix_ms) {
  return absl::FormatTime("%Y-%m-%d %H:%M:%S", absl::FromUnixMillis(unix_ms), absl::UTCTimeZone());
}

std::string ShortHex(absl::string_view bytes) {
  return bytes.empty() ? "-" : absl::BytesToHexString(bytes).substr(0, kShortHash);
}

absl::Status Verify(const Session& session, const JournalOptions& options) {
  std::ostream& out = *session.environment.out;
  const Clock& clock = *session.environment.clock;
  absl::Time told = clock.Now();
  bool telling = false;
  const auto progress = [&](const std::string& run, uint64_t round, uint64_t last) {
    if (session.environment.terminal && clock.Now() - told > absl::Milliseconds(500)) {
      told = clock.Now();
      telling = true;
      *session.environment.err << "\rrun " << run << ": round " << round << " of " << last << "\x1b[K" << std::flush;
    }
    return session.environment.interrupt->raised() ? WithExitCode(absl::CancelledError("interrupted"), ExitCode::kInterrupted)
                                                   : absl::OkStatus();
  };
  const absl::StatusOr<coordinator::Verification> result = coordinator::VerifyJournal(options.data_dir, progress);
  if (telling) {
    *session.environment.err << "\r\x1b[K" << std::flush;
  }
  TRIBUTARY_RETURN_IF_ERROR(result.status());
  if (session.json()) {
    Json json = {{"runs", Json::array()}, {"problems", result->problems}};
    for (const auto& run : result->runs) {
      json["runs"].push_back({{"run_id", run.run_id},
                              {"commits", run.commits},
                              {"pruned", run.pruned},
                              {"snapshots", run.snapshots},
                              {"state_hash", run.state_hash}});
    }
    out << Print(json) << "\n";
  } else {
    for (const auto& run : result->runs) {
      out << "run " << run.run_id << ": " << run.commits << " commits"
          << (run.pruned == 0 ? "" : absl::StrCat(" (1 to ", run.pruned, " pruned)")) << ", " << run.snapshots << " snapshots, state "
          << run.state_hash << "\n";
    }
    for (const std::string& problem : result->problems) {
      out << "DAMAGED: " << problem << "\n";
    }
    if (result->problems.empty()) {
      out << "all checks passed\n";
    }
  }
  // Told already.
  return result->problems.empty() ? absl::OkStatus() : WithExitCode(absl::DataLossError(""), ExitCode::kDamaged);
}

absl::Status ShowRuns(const Session& session, Journal& journal) {
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<JournaledRun> runs, journal.Runs());
  std::vector<std::vector<std::string>> rows = {{"NAME", "ID", "STATE", "COMMITS", "SNAPSHOTS", "SUBMITTED", "REASON"}};
  Json json = {{"runs", Json::array()}};
  for (const JournaledRun& run : runs) {
    TRIBUTARY_ASSIGN_OR_RETURN(const uint64_t last, journal.LastCommit(run.run_id));
    TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<JournaledSnapshot> snapshots, journal.Snapshots(run.run_id));
    rows.push_back({run.spec.name(), run.run_id, FormatState(run.state), absl::StrCat(last), absl::StrCat(snapshots.size()),
                    TimeOf(run.submitted_unix_ms), run.reason});
    json["runs"].push_back({{"name", run.spec.name()},
                            {"run_id", run.run_id},
                            {"state", FormatState(run.state)},
                            {"reason", run.reason},
                            {"commits", last},
                            {"snapshots", snapshots.size()},
                            {"submitted_unix_ms", run.submitted_unix_ms},
                            {"finished_unix_ms", run.finished_unix_ms}});
  }
  *session.environment.out << (session.json() ? Print(json) + "\n" : FormatTable(rows, {session.environment.columns, {}}));
  return absl::OkStatus();
}

absl::Status ShowRound(const Session& session, Journal& journal, const JournaledRun& run, uint64_t round) {
  TRIBUTARY_ASSIGN_OR_RETURN(const JournaledCommit commit, journal.Commit(run.run_id, round));
  const Json json = {{"run_id", run.run_id},
                     {"round", round},
                     {"record_bytes", commit.bytes()},
                     {"chain_hash", DigestHex(commit.chain_hash)},
                     {"state_hash", DigestHex(commit.state_hash)},
                     {"included", commit.included},
                     {"round_record", Json::parse(ToJson(commit.round_record))}};
  if (session.json()) {
    *session.environment.out << Print(json) << "\n";
    return absl::OkStatus();
  }
  *session.environment.out << FormatTable({{"run", run.run_id},
                                           {"round", absl::StrCat(round)},
                                           {"record", commit.bytes() == 0 ? "pruned" : absl::StrCat(commit.bytes(), " bytes")},
                                           {"chain hash", DigestHex(commit.chain_hash)},
                                           {"state hash", DigestHex(commit.state_hash)},
                                           {"included", absl::StrJoin(commit.included, ", ")},
                                           {"accounts", ToJson(commit.round_record)}},
                                          {session.environment.columns, {}});
  return absl::OkStatus();
}

struct RunContents {
  std::vector<CommitSummary> commits;
  std::optional<coordinator::JournaledRound> open;
  std::vector<std::string> accepted;  // sites, of the open round
  std::vector<JournaledSnapshot> snapshots;
  std::vector<JournaledEvent> events;
  std::vector<JournaledEvidence> evidence;
};

absl::StatusOr<RunContents> Read(Journal& journal, const std::string& run_id) {
  RunContents contents;
  TRIBUTARY_ASSIGN_OR_RETURN(contents.commits, journal.CommitSummaries(run_id));
  TRIBUTARY_ASSIGN_OR_RETURN(contents.open, journal.OpenRound(run_id));
  if (contents.open.has_value()) {
    TRIBUTARY_RETURN_IF_ERROR(journal.VisitUpdates(run_id, contents.open->round, [&contents](const coordinator::JournaledUpdate& update) {
      contents.accepted.push_back(update.site);
      return absl::OkStatus();
    }));
  }
  TRIBUTARY_ASSIGN_OR_RETURN(contents.snapshots, journal.Snapshots(run_id));
  TRIBUTARY_ASSIGN_OR_RETURN(contents.events, journal.Events(run_id));
  TRIBUTARY_ASSIGN_OR_RETURN(contents.evidence, journal.Evidence(run_id));
  return contents;
}

Json ToJson(const JournaledRun& run, const RunContents& contents) {
  Json json = {{"run_id", run.run_id}, {"state", FormatState(run.state)}, {"reason", run.reason},    {"commits", Json::array()},
               {"open_round", Json()}, {"snapshots", Json::array()},      {"events", Json::array()}, {"evidence", Json::array()}};
  for (const CommitSummary& commit : contents.commits) {
    json["commits"].push_back({{"round", commit.round},
                               {"record_bytes", commit.record_bytes},
                               {"included", commit.round_record.included()},
                               {"members", commit.round_record.members()},
                               {"chain_hash", DigestHex(commit.chain_hash)},
                               {"state_hash", DigestHex(commit.state_hash)}});
  }
  if (contents.open.has_value()) {
    json["open_round"] = {{"round", contents.open->round}, {"members", contents.open->members}, {"accepted", contents.accepted}};
  }
  for (const JournaledSnapshot& snapshot : contents.snapshots) {
    json["snapshots"].push_back({{"round", snapshot.round},
                                 {"file", snapshot.file},
                                 {"aggregator_file", snapshot.aggregator_file},
                                 {"state_hash", DigestHex(snapshot.state_hash)}});
  }
  for (const JournaledEvent& event : contents.events) {
    json["events"].push_back({{"unix_ms", event.unix_ms},
                              {"site", event.site},
                              {"kind", event.kind},
                              {"round", event.round},
                              {"detail", event.detail},
                              {"actor", event.actor}});
  }
  for (const JournaledEvidence& evidence : contents.evidence) {
    json["evidence"].push_back({{"unix_ms", evidence.unix_ms},
                                {"site", evidence.site},
                                {"round", evidence.round},
                                {"reported_hash", absl::BytesToHexString(evidence.reported_hash)},
                                {"log_hash", absl::BytesToHexString(evidence.log_hash)},
                                {"software_version", evidence.software_version}});
  }
  return json;
}

std::string ToText(const JournaledRun& run, const RunContents& contents, size_t columns) {
  std::string text = absl::StrCat("run ", run.run_id, ": ", FormatState(run.state), run.reason.empty() ? "" : ": ", run.reason, "\n");
  if (contents.open.has_value()) {
    absl::StrAppend(&text, "round ", contents.open->round, " is open: members ", absl::StrJoin(contents.open->members, ", "),
                    "; updates accepted from ", contents.accepted.empty() ? "nobody" : absl::StrJoin(contents.accepted, ", "), "\n");
  }
  const auto section = [&text, columns](const std::vector<std::vector<std::string>>& rows) {
    if (rows.size() > 1) {
      absl::StrAppend(&text, "\n", FormatTable(rows, {columns, {}}));
    }
  };
  std::vector<std::vector<std::string>> rows = {{"COMMIT", "INCLUDED", "BYTES", "CHAIN", "STATE"}};
  for (const CommitSummary& commit : contents.commits) {
    rows.push_back({absl::StrCat(commit.round), absl::StrCat(commit.round_record.included(), "/", commit.round_record.members()),
                    commit.record_bytes == 0 ? "pruned" : absl::StrCat(commit.record_bytes),
                    DigestHex(commit.chain_hash).substr(0, kShortHash), DigestHex(commit.state_hash).substr(0, kShortHash)});
  }
  section(rows);
  rows = {{"SNAPSHOT", "FILE", "STATE"}};
  for (const JournaledSnapshot& snapshot : contents.snapshots) {
    rows.push_back({absl::StrCat(snapshot.round), snapshot.file, DigestHex(snapshot.state_hash).substr(0, kShortHash)});
  }
  section(rows);
  rows = {{"EVENT", "SITE", "BY", "WHAT", "ROUND", "DETAIL"}};
  const size_t first = contents.events.size() - std::min(contents.events.size(), kEventsShown);
  for (size_t i = first; i < contents.events.size(); ++i) {
    const JournaledEvent& event = contents.events[i];
    rows.push_back({TimeOf(event.unix_ms), event.site, event.actor, event.kind, absl::StrCat(event.round), event.detail});
  }
  section(rows);
  if (first > 0) {
    absl::StrAppend(&text, first, " earlier events not shown; to see them: --format json\n");
  }
  rows = {{"EVIDENCE", "SITE", "ROUND", "REPORTED", "LOG", "VERSION"}};
  for (const JournaledEvidence& evidence : contents.evidence) {
    rows.push_back({TimeOf(evidence.unix_ms), evidence.site, absl::StrCat(evidence.round), ShortHex(evidence.reported_hash),
                    ShortHex(evidence.log_hash), evidence.software_version});
  }
  section(rows);
  return text;
}

absl::Status Show(const Session& session, const JournalOptions& options) {
  TRIBUTARY_ASSIGN_OR_RETURN(const std::unique_ptr<Journal> journal, coordinator::InspectJournal(options.data_dir));
  if (options.run.empty()) {
    if (options.round_given) {
      return absl::InvalidArgumentError("--round needs a run: name it too");
    }
    return ShowRuns(session, *journal);
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const JournaledRun run, coordinator::FindJournaledRun(*journal, options.run));
  if (options.round_given) {
    return ShowRound(session, *journal, run, options.round);
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const RunContents contents, Read(*journal, run.run_id));
  *session.environment.out << (session.json() ? Print(ToJson(run, contents)) + "\n" : ToText(run, contents, session.environment.columns));
  return absl::OkStatus();
}

absl::Status TruncateTo(const Session& session, const JournalOptions& options) {
  if (!options.yes) {
    return absl::InvalidArgumentError(
        absl::StrCat("this drops every round of run ", options.run, " after round ", options.round,
                     ", and the sites train them again; a copy of the journal is kept. To go ahead, add --yes"));
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const coordinator::Truncation done,
                             coordinator::TruncateJournal(options.data_dir, options.run, options.round));
  if (session.json()) {
    const Json json = {{"run", options.run},      {"round", options.round},
                       {"dropped", done.dropped}, {"state_hash", done.state_hash},
                       {"backup", done.backup},   {"residual_known", done.residual_known},
                       {"damaged", done.damaged}};
    *session.environment.out << Print(json) << "\n";
    return absl::OkStatus();
  }
  *session.environment.out << "run " << options.run << " is back at round " << options.round << ", " << done.dropped
                           << " commits dropped; state " << done.state_hash << "\n"
                           << "the folder as it was: " << done.backup << " (to undo, put it in place of this one)\n";
  if (!done.damaged.empty()) {
    *session.environment.out << "also dropped, because damaged: " << absl::StrJoin(done.damaged, ", ") << "\n";
  }
  if (!done.residual_known) {
    *session.environment.out << "the coordinator's residual starts empty: the updates that led to it are pruned or damaged\n";
  }
  return absl::OkStatus();
}

absl::Status Upgrade(const Session& session, const JournalOptions& options) {
  TRIBUTARY_ASSIGN_OR_RETURN(const coordinator::Upgrade done, coordinator::UpgradeJournal(options.data_dir));
  if (session.json()) {
    const Json json = {{"from", done.from}, {"to", done.to}, {"backup", done.backup}};
    *session.environment.out << Print(json) << "\n";
    return absl::OkStatus();
  }
  if (done.from == done.to) {
    *session.environment.out << "the journal is already in format " << done.to << ", the newest\n";
    return absl::OkStatus();
  }
  *session.environment.out << "the journal is in format " << done.to << "; it was in format " << done.from << "\n"
                           << "the folder as it was: " << done.backup << " (to undo, put it in place of this one)\n";
  return absl::OkStatus();
}

}  // namespace

void AddJournalCommands(CLI::App* app, Session* session) {
  CLI::App* journal =
      app->add_subcommand("journal", "Check or show a coordinator's journal; with the coordinator stopped, take it back or upgrade it");
  journal->require_subcommand(1);
  const auto options = std::make_shared<JournalOptions>();
  const auto add = [&](const char* name, const char* help, absl::Status (*action)(const Session&, const JournalOptions&)) {
    CLI::App* command = journal->add_subcommand(name, help);
    command->callback([session, options, action] { session->action = [session, options, action] { return action(*session, *options); }; });
    command->add_option("DATA_DIR", options->data_dir, "data_dir of coordinator.yaml")->required();
    return command;
  };
  add("verify", "Check everything by replaying every round; exit code 0, or 8 with every problem and its place", Verify);
  CLI::App* show = add("show", "Show all runs, or the commits, snapshots, events and evidence of one", Show);
  show->add_option("RUN", options->run, "run id or name; a name means its newest run");
  show->add_option_function<uint64_t>(
      "--round",
      [options](const uint64_t& round) {
        options->round = round;
        options->round_given = true;
      },
      "show one commit of RUN");
  CLI::App* truncate = add("truncate-to", "Take RUN back to ROUND, to continue from there; keeps a copy of the journal", TruncateTo);
  truncate->add_option("RUN", options->run, "run id or name; a name means its newest run")->required();
  truncate->add_option("ROUND", options->round, "the last round to keep")->required()->check(CLI::NonNegativeNumber);
  truncate->add_flag("--yes", options->yes, "confirm that the later rounds are dropped");
  add("upgrade", "Rewrite the journal in the newest format; keeps a copy of the folder, for earlier releases", Upgrade);
}

}  // namespace tributary::cli
