// `tributary run`: submit, look, watch, pause, resume, extend, readmit, stop.
#include <CLI/CLI.hpp>
#include <atomic>
#include <memory>
#include <optional>
#include <ostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/commands.h"
#include "cli/history.h"
#include "cli/output.h"
#include "cli/table.h"
#include "common/excerpt.h"
#include "common/exit_codes.h"
#include "common/format_bytes.h"
#include "common/rare_line.h"
#include "common/standard_output.h"
#include "common/status_macros.h"
#include "proto/config/run_options.h"
#include "proto/config/yaml.h"

namespace tributary::cli {
namespace {

constexpr int kMostSitesListed = 3;

absl::Status Show(const Session& session, const v1::RunStatus& status) {
  for (const std::string& warning : status.warnings()) {
    *session.environment.err << "warning: " << warning << "\n";
  }
  if (session.json()) {
    *session.environment.out << ToJson(status) << "\n";
  } else {
    *session.environment.out << FormatStatus(status, session.environment.columns);
  }
  return absl::OkStatus();
}

absl::Status Submit(const Session& session, const std::string& file) {
  v1::RunSpec spec;
  TRIBUTARY_RETURN_IF_ERROR(LoadYaml(file, &spec));
  TRIBUTARY_RETURN_IF_ERROR(WithExitCode(Annotate(ValidateRunSpec(spec), file), ExitCode::kUsage));
  TRIBUTARY_ASSIGN_OR_RETURN(Client client, Connect(session));
  TRIBUTARY_ASSIGN_OR_RETURN(const v1::RunStatus status, client.SubmitRun(spec));
  return Show(session, status);
}

absl::Status List(const Session& session) {
  TRIBUTARY_ASSIGN_OR_RETURN(Client client, Connect(session));
  TRIBUTARY_ASSIGN_OR_RETURN(const v1::ListRunsResponse runs, client.ListRuns());
  if (session.json()) {
    *session.environment.out << ToJson(runs) << "\n";
    return absl::OkStatus();
  }
  std::vector<std::vector<std::string>> rows = {{"NAME", "ID", "STATE", "ROUND", "SITES", "VAL LOSS", "REASON"}};
  for (const v1::RunStatus& run : runs.runs()) {
    rows.push_back({run.spec().name(), run.run_id(), FormatState(run.state()), absl::StrCat(run.round(), "/", run.spec().rounds()),
                    FormatSites(run.spec(), kMostSitesListed), run.has_val_loss() ? absl::StrFormat("%.4f", run.val_loss()) : "-",
                    run.reason()});
  }
  *session.environment.out << FormatTable(rows, {session.environment.columns, {"ID", "SITES"}});
  return absl::OkStatus();
}

absl::Status Status(const Session& session, const std::string& run) {
  TRIBUTARY_ASSIGN_OR_RETURN(Client client, Connect(session));
  TRIBUTARY_ASSIGN_OR_RETURN(const v1::RunStatus status, client.GetRun(run));
  return Show(session, status);
}

absl::Status Stop(const Session& session, const std::string& run, const std::string& reason) {
  TRIBUTARY_ASSIGN_OR_RETURN(Client client, Connect(session));
  TRIBUTARY_ASSIGN_OR_RETURN(const v1::RunStatus status, client.StopRun(run, reason));
  return Show(session, status);
}

absl::Status Pause(const Session& session, const std::string& run, const std::string& reason) {
  TRIBUTARY_ASSIGN_OR_RETURN(Client client, Connect(session));
  TRIBUTARY_ASSIGN_OR_RETURN(const v1::RunStatus status, client.PauseRun(run, reason));
  return Show(session, status);
}

absl::Status Resume(const Session& session, const std::string& run) {
  TRIBUTARY_ASSIGN_OR_RETURN(Client client, Connect(session));
  TRIBUTARY_ASSIGN_OR_RETURN(const v1::RunStatus status, client.ResumeRun(run));
  return Show(session, status);
}

absl::Status Readmit(const Session& session, const std::string& run, const std::string& site) {
  TRIBUTARY_ASSIGN_OR_RETURN(Client client, Connect(session));
  TRIBUTARY_ASSIGN_OR_RETURN(const v1::RunStatus status, client.ReadmitSite(run, site));
  return Show(session, status);
}

absl::Status Extend(const Session& session, const std::string& run, uint64_t rounds) {
  TRIBUTARY_ASSIGN_OR_RETURN(Client client, Connect(session));
  TRIBUTARY_ASSIGN_OR_RETURN(const v1::RunStatus status, client.ExtendRun(run, rounds));
  return Show(session, status);
}

// One line in place on a terminal; otherwise a line for each change.
class WatchDisplay {
 public:
  explicit WatchDisplay(const Session& session) : session_(session) {}

  void Show(const v1::RunStatus& status) {
    std::ostream& out = *session_.environment.out;
    if (session_.json()) {
      out << ToJson(status) << "\n" << std::flush;
      return EndIfLost();
    }
    gaps_.Forget();
    // A full last column would have some terminals begin a line.
    const std::string line = FormatStatusLine(status, session_.environment.columns - 1);
    if (line == line_) {
      return;
    }
    line_ = line;
    if (session_.environment.terminal) {
      out << "\r" << line << "\x1b[K" << std::flush;
    } else {
      out << line << "\n" << std::flush;
    }
    EndIfLost();
  }

  void ShowGap(const absl::Status& status) {
    const std::optional<std::string> left_out = gaps_.Tell(status.message(), session_.environment.clock->Now());
    if (!left_out.has_value()) {
      return;
    }
    EndLine();
    *session_.environment.err << "tributary: " << Escaped(status.message()) << "; trying again" << *left_out << "\n";
  }

  // What follows starts on a line of its own.
  void EndLine() {
    if (session_.environment.terminal && !session_.json() && !line_.empty()) {
      *session_.environment.out << "\n" << std::flush;
    }
    line_.clear();
  }

 private:
  // To watch on would show nothing to anybody.
  void EndIfLost() {
    if (!*session_.environment.out) {
      session_.environment.interrupt->Raise();
    }
  }

  const Session& session_;
  std::string line_;
  RareLine gaps_;
};

absl::Status Watch(const Session& session, const std::string& run) {
  TRIBUTARY_ASSIGN_OR_RETURN(Client client, Connect(session));
  TRIBUTARY_ASSIGN_OR_RETURN(const v1::RunStatus first, client.GetRun(run));
  WatchDisplay display(session);
  std::atomic<bool> reader_gone = false;
  const ReaderWatch reader(session.environment.out_fd, [&session, &reader_gone] {
    reader_gone = true;
    session.environment.interrupt->Raise();
  });
  const absl::StatusOr<v1::RunStatus> last = client.WatchRun(
      first.run_id(), [&](const v1::RunStatus& status) { display.Show(status); }, [&](const absl::Status& gap) { display.ShowGap(gap); });
  display.EndLine();
  if (reader_gone) {
    return WithExitCode(absl::CancelledError(""), ExitCode::kReaderGone);
  }
  if (!last.ok()) {
    return last.status();
  }
  if (!session.json() && last->round() > 0) {
    const absl::StatusOr<v1::RunHistory> history = client.GetRunHistory(last->run_id());
    *session.environment.out << FormatOutcome(*last, history.ok() ? *history : v1::RunHistory()) << "\n";
  }
  return EndOf(*last);
}

}  // namespace

void AddRunCommands(CLI::App* app, Session* session) {
  CLI::App* run = app->add_subcommand("run", "Submit, watch, pause, resume, extend and stop runs");
  run->require_subcommand(1);

  struct Options {
    std::string run;
    std::string site;
    std::string file;
    std::string reason;
    uint64_t rounds = 0;
    bool follow = false;
  };
  const auto options = std::make_shared<Options>();
  const auto add = [&](const char* name, const char* help, std::function<absl::Status()> action) {
    const bool writes_csv = absl::string_view(name) == "history";
    CLI::App* command = run->add_subcommand(name, help);
    command->callback([session, writes_csv, action = std::move(action)] {
      session->action = action;
      if (session->format == "csv" && !writes_csv) {
        session->action = [] { return absl::InvalidArgumentError("--format csv is for `run history` only; use text or json"); };
      }
    });
    return command;
  };
  const char* const kRunHelp = "run id or name; a name means its newest run (default: the newest run of all)";

  CLI::App* submit = add("submit", "Queue the run that FILE describes", [session, options] { return Submit(*session, options->file); });
  submit->add_option("FILE", options->file, "run.yaml")->required();
  submit->footer(
      "Examples:\n"
      "  tributary run submit run.yaml\n"
      "  tributary run submit run.yaml --format json | jq -r .run_id\n");
  add("list", "List all runs, newest first", [session] { return List(*session); });
  add("status", "Show where a run and each of its sites stand", [session, options] {
    return Status(*session, options->run);
  })->add_option("RUN", options->run, kRunHelp);
  CLI::App* watch = add("watch", "Follow a run to its end; exit code 0 if it finished, 9 if it failed or was stopped",
                        [session, options] { return Watch(*session, options->run); });
  watch->add_option("RUN", options->run, kRunHelp);
  watch->footer(
      "Examples:\n"
      "  tributary run watch bible && tributary export bible --output model.safetensors\n"
      "  tributary run watch bible --format json | jq .val_loss\n");
  const char* const kRunRequiredHelp = "run id or name; a name means its newest run";
  CLI::App* pause = add("pause", "Pause after the round in flight, until `run resume`; a pause survives restarts",
                        [session, options] { return Pause(*session, options->run, options->reason); });
  pause->add_option("RUN", options->run, kRunRequiredHelp)->required();
  pause->add_option("--reason", options->reason, "why; shown in the run's status");
  add("resume", "Continue a paused run", [session, options] { return Resume(*session, options->run); })
      ->add_option("RUN", options->run, kRunRequiredHelp)
      ->required();
  CLI::App* extend = add("extend", "Give a run more rounds, also one that has finished",
                         [session, options] { return Extend(*session, options->run, options->rounds); });
  extend->add_option("RUN", options->run, kRunRequiredHelp)->required();
  extend->add_option("--rounds", options->rounds, "how many the run is to have in all")->required();
  extend->footer(
      "The learning rate keeps to the schedule that it had, and after that stays as in its last round.\n\n"
      "Examples:\n"
      "  tributary run extend bible --rounds 2000 && tributary run watch bible\n");
  CLI::App* readmit = add("readmit", "Let a site take part again that the run has quarantined for its updates",
                          [session, options] { return Readmit(*session, options->run, options->site); });
  readmit->add_option("RUN", options->run, kRunRequiredHelp)->required();
  readmit->add_option("SITE", options->site, "as `run status` names it")->required();
  CLI::App* stop = add("stop", "End a run for good, after the round in flight",
                       [session, options] { return Stop(*session, options->run, options->reason); });
  stop->add_option("RUN", options->run, kRunRequiredHelp)->required();
  stop->add_option("--reason", options->reason, "why; shown in the run's status");
  CLI::App* history = add("history", "Show losses, bytes and times of every round", [session, options] {
    return ShowHistory(*session, options->run, options->follow ? HistoryEnd::kEndOfRun : HistoryEnd::kNow);
  });
  history->add_option("RUN", options->run, kRunHelp);
  history->add_flag("--follow", options->follow,
                    "go on to the end of the run: a line for each round, once the next has followed and its losses are known");
  history->footer(
      "Examples:\n"
      "  tributary run history bible --format csv > bible.csv\n"
      "  tributary run history bible --follow --format json | python3 to_tracker.py\n");
}

}  // namespace tributary::cli
