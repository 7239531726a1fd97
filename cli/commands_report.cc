// `tributary report` and `tributary compare`: pages about runs, of a coordinator that serves or from the files of one that is stopped.
#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <ostream>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "cli/commands.h"
#include "cli/report_page.h"
#include "common/files.h"
#include "common/status_macros.h"
#include "coordinator/journal_tool.h"

namespace tributary::cli {
namespace {

// Of a curve or a text beside a run, and of an image.
constexpr uint64_t kMaxFileBytes = 1 << 20;
constexpr uint64_t kMaxImageBytes = 16 << 20;
constexpr absl::string_view kPngBegins("\x89PNG\r\n\x1a\n", 8);

struct ReportOptions {
  std::vector<std::string> runs;
  std::string data_dir;
  std::string output;
  std::vector<std::string> levels;
  std::string baseline;
  std::string sample;
  std::string image;
};

absl::StatusOr<std::vector<ReportedRun>> ReadRuns(const Session& session, const ReportOptions& options) {
  std::vector<ReportedRun> runs;
  if (!options.data_dir.empty()) {
    for (const std::string& name : options.runs) {
      TRIBUTARY_ASSIGN_OR_RETURN(coordinator::RunAsTold run, coordinator::ReadRun(options.data_dir, name));
      runs.push_back({std::move(run.status), std::move(run.history)});
    }
    return runs;
  }
  TRIBUTARY_ASSIGN_OR_RETURN(Client client, Connect(session));
  for (const std::string& name : options.runs) {
    ReportedRun run;
    TRIBUTARY_ASSIGN_OR_RETURN(run.status, client.GetRun(name));
    TRIBUTARY_ASSIGN_OR_RETURN(run.history, client.GetRunHistory(run.status.run_id()));
    runs.push_back(std::move(run));
  }
  return runs;
}

absl::StatusOr<Beside> ReadBeside(const ReportOptions& options) {
  Beside beside;
  for (const std::string& level : options.levels) {
    const std::pair<std::string, std::string> parts = absl::StrSplit(level, absl::MaxSplits('=', 1));
    Beside::NamedLoss named{parts.first, 0};
    if (parts.first.empty() || !absl::SimpleAtod(parts.second, &named.loss)) {
      return absl::InvalidArgumentError(absl::StrCat("--level '", level, "' is not NAME=LOSS, such as 'one site alone=1.93'"));
    }
    beside.levels.push_back(std::move(named));
  }
  if (!options.baseline.empty()) {
    TRIBUTARY_ASSIGN_OR_RETURN(const std::string text, ReadFile(options.baseline, kMaxFileBytes));
    TRIBUTARY_ASSIGN_OR_RETURN(beside.baseline, ParseCurve(text, options.baseline));
  }
  if (!options.sample.empty()) {
    TRIBUTARY_ASSIGN_OR_RETURN(beside.sample, ReadFile(options.sample, kMaxFileBytes));
  }
  if (!options.image.empty()) {
    TRIBUTARY_ASSIGN_OR_RETURN(beside.image, ReadFile(options.image, kMaxImageBytes));
    if (!absl::StartsWith(beside.image, kPngBegins)) {
      return absl::InvalidArgumentError(
          absl::StrCat(options.image, " is no PNG: --image shows what `tributary-worker sample --output` writes"));
    }
  }
  return beside;
}

absl::Status WritePage(const Session& session, const ReportOptions& options, const std::vector<ReportedRun>& runs,
                       const std::string& page) {
  TRIBUTARY_RETURN_IF_ERROR(WriteOutput(options.output, page, *session.environment.out));
  // Beside a page on standard output, nothing else goes there.
  std::ostream& out = IsStandardOutput(options.output) ? *session.environment.err : *session.environment.out;
  if (session.json()) {
    nlohmann::ordered_json json = {{"output", options.output}, {"runs", nlohmann::ordered_json::array()}, {"bytes", page.size()}};
    for (const ReportedRun& run : runs) {
      json["runs"].push_back(run.status.run_id());
    }
    out << json.dump() << "\n";
  } else {
    out << options.output << ": " << (runs.size() == 1 ? absl::StrCat("run ", runs[0].status.run_id()) : absl::StrCat(runs.size(), " runs"))
        << ", as a page for a browser\n";
  }
  return absl::OkStatus();
}

absl::Status Report(const Session& session, const ReportOptions& options) {
  TRIBUTARY_ASSIGN_OR_RETURN(const Beside beside, ReadBeside(options));
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<ReportedRun> runs, ReadRuns(session, options));
  return WritePage(session, options, runs, ReportPage(runs[0], beside, session.environment.clock->WallNow()));
}

absl::Status Compare(const Session& session, const ReportOptions& options) {
  if (options.runs.size() > kMostRunsCompared) {
    return absl::InvalidArgumentError(absl::StrCat("one page compares at most ", kMostRunsCompared, " runs, not ", options.runs.size()));
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<ReportedRun> runs, ReadRuns(session, options));
  return WritePage(session, options, runs, ComparisonPage(runs, session.environment.clock->WallNow()));
}

CLI::App* AddPageCommand(CLI::App* app, Session* session, const char* name, const char* help, const std::shared_ptr<ReportOptions>& options,
                         absl::Status (*action)(const Session&, const ReportOptions&)) {
  CLI::App* command = app->add_subcommand(name, help);
  command->add_option("--output,-o", options->output, "page to write (HTML); - is standard output")->required();
  command->add_option("--data-dir", options->data_dir, "read the runs from this data_dir of a coordinator that is stopped");
  command->callback([session, options, action] { session->action = [session, options, action] { return action(*session, *options); }; });
  return command;
}

}  // namespace

void AddReportCommands(CLI::App* app, Session* session) {
  const auto report = std::make_shared<ReportOptions>();
  CLI::App* command = AddPageCommand(app, session, "report", "Draw a run as a page: losses, bytes, times, sites", report, Report);
  command->add_option("RUN", report->runs, "run id or name; a name means its newest run")->required()->expected(1);
  command->add_option("--level", report->levels, "a loss to compare with, as NAME=LOSS; may be repeated")->allow_extra_args(false);
  command->add_option("--baseline", report->baseline, "file with the curve of another run to compare with");
  command->add_option("--sample", report->sample, "file with text from the model, to show at the end");
  command->add_option("--image", report->image, "PNG with images from the model, to show at the end");

  const auto compare = std::make_shared<ReportOptions>();
  AddPageCommand(app, session, "compare", "Draw runs over each other, by steps, bytes and time", compare, Compare)
      ->add_option("RUN", compare->runs, "run ids or names")
      ->required()
      ->expected(2, static_cast<int>(kMostRunsCompared) + 1);
}

}  // namespace tributary::cli
