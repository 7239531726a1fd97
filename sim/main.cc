// tributary-sim: a federation in one process, for finding defects (--chaos) and for trying a run file.
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <initializer_list>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "cli/output.h"
#include "cli/table.h"
#include "common/clock.h"
#include "common/command_line.h"
#include "common/cpu_limits.h"
#include "common/exit_codes.h"
#include "common/files.h"
#include "common/format_bytes.h"
#include "common/log.h"
#include "common/standard_output.h"
#include "common/status_macros.h"
#include "proto/protocol_version.h"
#include "sim/chaos.h"
#include "sim/recording.h"
#include "sim/research.h"
#include "sim/run_folder.h"
#include "worker/trainer.h"

namespace tributary::sim {
namespace {

struct Command {
  bool chaos = false;
  ChaosOptions options;
  uint64_t seed = 1;
  bool one_seed = false;
  bool trace = false;
  std::string json;
  std::string record;  // folder
};

struct ResearchCommand {
  RunFolder folder;
  ResearchOptions options;
  std::vector<std::string> step_times;
  std::string format = "text";
  std::string json;
  std::string model;
};

// Where the text goes when results go to the files named: standard output, unless one of them has it.
std::ostream& TextBeside(std::initializer_list<absl::string_view> files) {
  return std::any_of(files.begin(), files.end(), IsStandardOutput) ? std::cerr : std::cout;
}

std::string ReplayCommand(uint64_t seed, const Command& command) {
  return absl::StrCat("tributary-sim --chaos --seed ", seed, " --rounds ", command.options.rounds, " --workers ", command.options.workers,
                      " --trace");
}

nlohmann::ordered_json ToJson(const ChaosReport& report, const Command& command, double seconds) {
  nlohmann::ordered_json failures = nlohmann::ordered_json::array();
  for (const FailedSeed& failed : report.failed) {
    failures.push_back({{"seed", failed.seed},
                        {"simulated_seconds", failed.at},
                        {"event", failed.event},
                        {"invariant", failed.invariant},
                        {"detail", failed.detail},
                        {"replay", ReplayCommand(failed.seed, command)}});
  }
  return {{"seeds", report.seeds},
          {"first_seed", command.options.first_seed},
          {"rounds_per_seed", command.options.rounds},
          {"workers", command.options.workers},
          {"rounds", report.rounds},
          {"events", report.events},
          {"simulated_seconds", report.simulated_seconds},
          {"faults", report.faults},
          {"runs", report.runs},
          {"violations", report.failed.size()},
          {"failures", failures},
          {"jobs", command.options.jobs},
          {"cpu_seconds", report.cpu_seconds},
          {"seconds", seconds}};
}

void Print(const ChaosReport& report, const Command& command, double seconds, std::ostream& out) {
  for (const FailedSeed& failed : report.failed) {
    out << absl::StreamFormat("seed %d, %.3f simulated seconds, event %d: %s: %s\n  replay: %s\n", failed.seed, failed.at, failed.event,
                              failed.invariant, failed.detail, ReplayCommand(failed.seed, command));
  }
  out << absl::StreamFormat("%d seeds, %d rounds, %d events, %.0f simulated hours in %.1f s: %d violations\n", report.seeds, report.rounds,
                            report.events, report.simulated_seconds / 3600, seconds, report.failed.size());
  for (const auto& [state, count] : report.runs) {
    out << absl::StreamFormat("  runs %-26s %10d\n", state, count);
  }
  for (const auto& [kind, count] : report.faults) {
    out << absl::StreamFormat("  %-31s %10d\n", kind, count);
  }
}

absl::Status Chaos(Command command) {
  // Lines of the coordinator would be of another time.
  SetLogLevel(LogLevel::kNone);
  const absl::Time start = Clock::Real().Now();
  ChaosReport report;
  if (command.one_seed) {
    command.options.first_seed = command.seed;
    command.options.seeds = 1;
  }
  if (command.trace) {
    if (!command.one_seed) {
      return absl::InvalidArgumentError("--trace needs --seed: it shows one seed");
    }
    report = TraceSeed(command.seed, command.options.rounds, command.options.workers);
  } else {
    if (isatty(STDERR_FILENO) != 0) {
      command.options.progress = [seeds = command.options.seeds](uint64_t done) { absl::FPrintF(stderr, "\r%d of %d seeds", done, seeds); };
    }
    TRIBUTARY_ASSIGN_OR_RETURN(report, RunChaos(command.options));
    if (command.options.progress) {
      absl::FPrintF(stderr, "\r\x1b[K");
    }
  }
  const double seconds = absl::ToDoubleSeconds(Clock::Real().Now() - start);
  Print(report, command, seconds, TextBeside({command.json}));
  if (!command.json.empty()) {
    TRIBUTARY_RETURN_IF_ERROR(WriteOutput(command.json, ToJson(report, command, seconds).dump(2) + "\n", std::cout));
  }
  if (!report.failed.empty()) {
    return absl::InternalError(absl::StrCat(report.failed.size(), " of ", report.seeds, " seeds violate an invariant"));
  }
  return absl::OkStatus();
}

// A table as long as a screen.
constexpr size_t kTableRows = 20;

std::string Number(bool present, double value) {
  return present ? absl::StrFormat("%.4f", value) : "";
}

void PrintRounds(const v1::RunHistory& history, std::ostream& out) {
  std::vector<std::vector<std::string>> rows = {{"round", "train loss", "val loss", "included", "up", "down", "dense each way"}};
  const size_t rounds = history.rounds_size();
  const size_t step = std::max<size_t>(1, (rounds + kTableRows - 1) / kTableRows);
  for (size_t i = 0; i < rounds; ++i) {
    const v1::RoundRecord& record = history.rounds(static_cast<int>(i));
    if (i % step != 0 && i + 1 != rounds && !record.has_val_loss()) {
      continue;
    }
    rows.push_back({absl::StrCat(record.round()), Number(record.has_train_loss(), record.train_loss()),
                    Number(record.has_val_loss(), record.val_loss()), absl::StrCat(record.included(), "/", record.members()),
                    FormatBytes(static_cast<double>(record.bytes_up())), FormatBytes(static_cast<double>(record.bytes_down())),
                    FormatBytes(static_cast<double>(record.dense_bytes_per_direction()))});
  }
  out << cli::FormatTable(rows);
}

absl::Status Research(ResearchCommand command) {
  SetLogLevel(LogLevel::kNone);
  for (const std::string& text : command.step_times) {
    absl::Duration time;
    if (!absl::ParseDuration(text, &time) || time <= absl::ZeroDuration() || time > absl::Hours(24)) {
      return WithExitCode(absl::InvalidArgumentError(absl::StrCat("--step-time: '", text, "' is not a duration such as 100ms")),
                          ExitCode::kUsage);
    }
    command.options.step_times.push_back(time);
  }
  const bool terminal = isatty(STDERR_FILENO) != 0;
  if (terminal) {
    command.options.progress = [](const v1::RoundRecord& record, uint64_t rounds) {
      absl::FPrintF(stderr, "\rround %d of %d  loss %.4f ", record.round(), rounds, record.train_loss());
    };
  }
  command.options.make_trainer = [told = std::set<std::string>()](const worker::TrainerOptions& options,
                                                                  const optim::Layout& layout) mutable {
    absl::StatusOr<std::unique_ptr<worker::Trainer>> made = worker::Trainer::Create(options, layout);
    if (made.ok() && told.insert(options.site).second) {
      absl::FPrintF(stderr, "site %s: read %s\n", options.site, (*made)->data().text);
    }
    return made;
  };
  TRIBUTARY_RETURN_IF_ERROR(ReadRunFolder(command.folder, &command.options));
  const absl::Time start = Clock::Real().Now();
  const absl::StatusOr<ResearchResult> result = RunResearch(command.options);
  if (terminal) {
    absl::FPrintF(stderr, "\r\x1b[K");
  }
  TRIBUTARY_RETURN_IF_ERROR(result.status());
  const v1::RunStatus& status = result->status;
  const double seconds = absl::ToDoubleSeconds(Clock::Real().Now() - start);
  nlohmann::ordered_json json = nlohmann::ordered_json::parse(cli::ToJson(status));
  json["rounds"] = nlohmann::ordered_json::parse(cli::ToJson(result->history)).value("rounds", nlohmann::ordered_json::array());
  json["faults"] = result->outcome.faults;
  json["seconds"] = seconds;
  if (!command.json.empty()) {
    TRIBUTARY_RETURN_IF_ERROR(WriteOutput(command.json, json.dump(2) + "\n", std::cout));
  }
  if (!command.model.empty()) {
    TRIBUTARY_RETURN_IF_ERROR(WriteOutput(command.model, result->model, std::cout));
  }
  std::ostream& out = TextBeside({command.json, command.model});
  if (command.format == "json") {
    out << json.dump() << "\n";
  } else {
    PrintRounds(result->history, out);
    out << absl::StreamFormat("run %s %s at round %d: %s\nstate hash %s, %s up and %s down, %.1f s\n", status.run_id(),
                              cli::FormatState(status.state()), status.round(), status.reason(),
                              absl::BytesToHexString(status.state_hash()), FormatBytes(static_cast<double>(status.bytes_up_total())),
                              FormatBytes(static_cast<double>(status.bytes_down_total())), seconds);
  }
  if (status.state() != v1::FINISHED) {
    return WithExitCode(absl::AbortedError(absl::StrCat("the run ended as ", cli::FormatState(status.state()), ": ", status.reason())),
                        ExitCode::kRunFailed);
  }
  return absl::OkStatus();
}

absl::Status Record(const std::string& folder) {
  SetLogLevel(LogLevel::kNone);
  return RecordConversations(folder);
}

ExitCode Main(int argc, char** argv) {
  Command command;
  ResearchCommand research;
  command.options.jobs = UsableCores();
  CLI::App app("A federation in one process and one thread: the real coordinator and workers on a simulated clock, network and disk.",
               "tributary-sim");
  app.set_version_flag("--version", VersionText("tributary-sim", FormatProtocol({}), worker::LibTorchVersion()));
  bool faults = false;
  int workers = 0;
  CLI::Option* const run_file = app.add_option("RUN", research.folder.run_file, "run.yaml to try on the sites' real data");
  CLI::Option* const chaos = app.add_flag("--chaos", command.chaos, "look for defects instead, with one scenario of faults for each seed");
  run_file->excludes(chaos);
  app.add_option("--workers", workers, "number of sites (default: with RUN every sub-folder of the data folder, with --chaos 8)")
      ->check(CLI::Range(1, 1000));
  CLI::Option* const seed =
      app.add_option("--seed", command.seed, "with RUN: seeds the network and its faults; with --chaos: the one seed to run");
  app.add_option("--json", command.json, "also write the result to this file; - is standard output");

  const std::string of_run = "A run file";
  app.add_option("--data", research.folder.data_folder, "folder with one sub-folder of data for each site (default: `data` beside RUN)")
      ->group(of_run);
  app.add_option("--threads", research.options.threads, "training threads, as in worker.yaml")->group(of_run)->capture_default_str();
  app.add_option("--step-time", research.step_times,
                 "simulated time of a local step, like 20ms; or one for each site, in the order of their names: 20ms,20ms,80ms")
      ->group(of_run)
      ->delimiter(',');
  app.add_flag("--faults", faults, "add crashes, full disks, broken connections and partitions that lose no update")->group(of_run);
  app.add_option("--export", research.model, "write the model to this file as safetensors; - is standard output")->group(of_run);
  app.add_option("--format", research.format, "output format: text or json")
      ->group(of_run)
      ->capture_default_str()
      ->check(CLI::IsMember({"text", "json"}));

  const std::string of_chaos = "Chaos";
  app.add_option("--seeds", command.options.seeds, "number of seeds")
      ->group(of_chaos)
      ->capture_default_str()
      ->check(CLI::Range(1, 1000000000));
  app.add_option("--first-seed", command.options.first_seed, "the first seed")->group(of_chaos)->capture_default_str();
  app.add_flag("--trace", command.trace, "print every event; needs --seed")->group(of_chaos);
  app.add_option("--rounds", command.options.rounds, "rounds of each run")
      ->group(of_chaos)
      ->capture_default_str()
      ->check(CLI::Range(1, 100000));
  app.add_option("--jobs", command.options.jobs, "parallel processes")->group(of_chaos)->capture_default_str()->check(CLI::Range(1, 1024));
  CLI::Option* const record = app.add_option("--record", command.record,
                                             "write the conversations of a small federation to this folder, for tests of other releases")
                                  ->group("Recordings");
  record->excludes(run_file)->excludes(chaos);
  const std::optional<ExitCode> ended = ParseCommandLine(&app, std::vector<std::string>(argv + 1, argv + argc), std::cout, std::cerr);
  if (ended.has_value()) {
    return *ended;
  }
  if (!command.chaos && command.record.empty() && research.folder.run_file.empty()) {
    std::cerr << "tributary-sim: name a run file to try, or say --chaos to look for defects; see: tributary-sim --help\n";
    return ExitCode::kUsage;
  }
  command.one_seed = seed->count() > 0;
  if (workers != 0) {
    command.options.workers = workers;
  }
  research.folder.workers = workers;
  research.options.seed = command.seed;
  research.options.weather = faults ? Weather::kFaults : Weather::kFair;
  research.json = command.json;
  const absl::Status status = command.chaos ? Chaos(command) : !command.record.empty() ? Record(command.record) : Research(research);
  if (!status.ok()) {
    std::cerr << "tributary-sim: " << status.message() << "\n";
  }
  return ExitCodeOf(status);
}

}  // namespace
}  // namespace tributary::sim

int main(int argc, char** argv) {
  signal(SIGPIPE, SIG_IGN);
  tributary::StandardOutput output(STDOUT_FILENO);
  return output.End("tributary-sim", tributary::sim::Main(argc, argv));
}
