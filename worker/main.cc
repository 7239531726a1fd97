// tributary-worker: trains a federation's model on one site's data, which never leaves this process.
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "common/command_line.h"
#include "common/exit_codes.h"
#include "common/file_watch.h"
#include "common/files.h"
#include "common/grpc_log.h"
#include "common/log.h"
#include "common/proxy.h"
#include "common/standard_output.h"
#include "common/status_macros.h"
#include "common/stop_signals.h"
#include "doctor/examine.h"
#include "optim/data_kind.h"
#include "optim/model_spec.h"
#include "optim/weights_file.h"
#include "proto/config/reload.h"
#include "proto/config/run_options.h"
#include "proto/config/yaml.h"
#include "proto/protocol_version.h"
#include "tributary/v1/config.pb.h"
#include "tributary/v1/run.pb.h"
#include "worker/consent.h"
#include "worker/data/folder.h"
#include "worker/data_command.h"
#include "worker/disclosure.h"
#include "worker/enroll_command.h"
#include "worker/member_command.h"
#include "worker/predict_command.h"
#include "worker/run_file.h"
#include "worker/sample_command.h"
#include "worker/sent_history.h"
#include "worker/session_client.h"
#include "worker/solo.h"
#include "worker/start_options.h"
#include "worker/status_page.h"
#include "worker/table_config.h"
#include "worker/trainer.h"
#include "worker/worker.h"

namespace tributary::worker {
namespace {

constexpr char kComponent[] = "worker";
// Between two lines of progress of a lone training.
constexpr uint64_t kProgressEvery = 10;

struct RunCommand {
  std::string config;
  bool once = false;
  bool watch_config = false;
  Security security;
  std::string connect_timeout;
  std::optional<LogLevel> log_level;
};

struct DoctorCommand {
  std::string config;
  bool insecure = false;
  bool insecure_anywhere = false;
  bool json = false;
};

struct StatusCommand {
  std::string config;
  uint64_t last = 20;
  bool json = false;
};

struct SoloCommand {
  std::string config;
  std::string run;
  std::vector<std::string> eval_data;
  double learning_rate = kSoloLearningRate;
  bool json = false;
};

struct ConsentCommand {
  std::string config;
  std::string run;
};

// Has `worker` reload at SIGHUP and stop at the first other signal; at a further Ctrl-C, the process ends at once. The signals are blocked
// in every thread.
class HeedSignals {
 public:
  HeedSignals(Worker* worker, std::function<void()> reload)
      : thread_([this, worker, reload = std::move(reload)] {
          while (TakeDaemonSignal() == SIGHUP) {
            reload();
          }
          if (over_) {
            return;
          }
          LogInfo(kComponent, "stopping (Ctrl-C stops at once)");
          worker->RequestStop("the worker is shutting down");
          // Supervisors like to send SIGTERM more than once.
          while (!over_ && TakeDaemonSignal() != SIGINT) {
          }
          if (!over_) {
            std::_Exit(static_cast<int>(ExitCode::kInterrupted));
          }
        }) {}

  ~HeedSignals() {
    over_ = true;
    pthread_kill(thread_.native_handle(), SIGTERM);
    thread_.join();
  }

 private:
  std::atomic<bool> over_ = false;
  std::thread thread_;
};

Environment EnvironmentHere() {
  const char* const tz = std::getenv("TZ");
  return {ProxyEnvironmentOf(environ), tz != nullptr ? std::make_optional<std::string>(tz) : std::nullopt};
}

// Everything that can be wrong on this side, before any connection is tried.
absl::Status CheckConfig(const v1::WorkerConfig& config, const RunCommand& command) {
  TRIBUTARY_RETURN_IF_ERROR(CheckConnection(config, command.config, command.security));
  TRIBUTARY_RETURN_IF_ERROR(CsvFormatOf(config.csv()).status());
  // What of it a run can read, its kind of data says; that there is something, and what is never read, can be said now.
  TRIBUTARY_ASSIGN_OR_RETURN(FolderListing listing, ListFolder(config.data(), [](absl::string_view) { return ""; }));
  if (listing.files.empty() && listing.folders.empty()) {
    return ListDataFiles(config.data(), "").status();
  }
  const size_t folders = listing.folders.size();
  const DataFiles found = FilesOf(std::move(listing));
  LogInfo(kComponent, "data folder ", config.data(), ": ", found.files.size(), found.files.size() == 1 ? " file" : " files",
          folders == 0   ? ""
          : folders == 1 ? " and a folder, which only runs on images read"
                         : absl::StrCat(" and ", folders, " folders, which only runs on images read"),
          DescribeLeftOut(found));
  return absl::OkStatus();
}

// On SIGHUP, which a watched configuration that has changed sends, too.
void Reload(const RunCommand& command, Worker& worker) {
  v1::WorkerConfig config;
  absl::Status status = LoadYaml(command.config, &config);
  if (status.ok()) {
    status = CheckConfig(config, command);
  }
  if (status.ok()) {
    status = worker.Reload(config);
  }
  if (!status.ok()) {
    LogError(kComponent, "nothing is reloaded, and all stays as it was: ", status.message());
    return;
  }
  SetLogFormat(LogFormatOf(config.log_format()));
  SetLogLevel(command.log_level.value_or(LogLevelOf(config.log_level())));
}

absl::Status Run(const RunCommand& command) {
  if (command.config.empty()) {
    return absl::InvalidArgumentError("--config is missing: tributary-worker --config worker.yaml");
  }
  if (command.security.insecure_anywhere && !command.security.insecure) {
    return absl::InvalidArgumentError("--insecure-anywhere needs --insecure");
  }
  absl::Duration connect_timeout = absl::InfiniteDuration();
  if (!command.connect_timeout.empty() &&
      (!absl::ParseDuration(command.connect_timeout, &connect_timeout) || connect_timeout <= absl::ZeroDuration())) {
    return absl::InvalidArgumentError(absl::StrCat("--connect-timeout ", command.connect_timeout, " is not a duration such as 30s or 5m"));
  }
  BlockDaemonSignals();
  std::optional<FileWatch> watch;
  if (command.watch_config) {
    watch.emplace(command.config, [] { kill(getpid(), SIGHUP); });
  }
  v1::WorkerConfig config;
  TRIBUTARY_RETURN_IF_ERROR(LoadYaml(command.config, &config));
  SetLogFormat(LogFormatOf(config.log_format()));
  SetLogLevel(command.log_level.value_or(LogLevelOf(config.log_level())));
  TRIBUTARY_RETURN_IF_ERROR(CheckConfig(config, command));
  TRIBUTARY_ASSIGN_OR_RETURN(WorkerOptions options, StartOptionsOf(std::move(config), command.config, command.security, EnvironmentHere()));
  options.connect_timeout = connect_timeout;
  options.once = command.once;
  options.make_trainer = Trainer::Create;

  TRIBUTARY_ASSIGN_OR_RETURN(std::unique_ptr<Worker> worker, Worker::Create(std::move(options)));
  absl::Status status;
  {
    const HeedSignals heed(worker.get(), [&] { Reload(command, *worker); });
    status = worker->Run();
  }
  if (worker->training()) {
    // A long step cannot be interrupted. What it would have led to, the next start computes again from what was saved.
    if (status.ok()) {
      LogInfo(kComponent, "stopped");
    } else {
      LogError(kComponent, status.message());
    }
    std::fflush(nullptr);
    std::_Exit(static_cast<int>(ExitCodeOf(status)));
  }
  // The last line is said when the state folder is free for another worker.
  worker.reset();
  if (status.ok()) {
    LogInfo(kComponent, "stopped");
  }
  return status;
}

absl::Status Solo(const SoloCommand& command) {
  v1::WorkerConfig config;
  TRIBUTARY_RETURN_IF_ERROR(LoadYaml(command.config, &config));
  TRIBUTARY_ASSIGN_OR_RETURN(const LoadedRun run, LoadRun(command.run));
  SoloOptions options;
  TRIBUTARY_ASSIGN_OR_RETURN(options.trainer, TrainerOptionsOf(run.spec, config));
  options.learning_rate = command.learning_rate;
  if (run.spec.model().initial_weights().empty()) {
    options.initial_theta.resize(run.layout.size());
    TRIBUTARY_RETURN_IF_ERROR(optim::InitializeWeights(run.model, run.spec.seed(), run.layout, absl::MakeSpan(options.initial_theta)));
  } else {
    // As in a simulation, the file lies beside the run's.
    TRIBUTARY_ASSIGN_OR_RETURN(options.initial_theta,
                               optim::ReadWeights(FolderOf(command.run) + "/" + run.spec.model().initial_weights(), run.layout));
  }
  options.evaluation_folders = command.eval_data;
  if (options.evaluation_folders.empty()) {
    options.evaluation_folders.push_back(config.data());
  }
  const bool show_progress = isatty(STDERR_FILENO) != 0;
  if (show_progress) {
    options.progress = [rounds = run.spec.rounds()](uint64_t round, double loss) {
      if (round % kProgressEvery == 0 || round == rounds) {
        std::cerr << "\rround " << round << "/" << rounds << "  loss " << loss << "   " << std::flush;
      }
    };
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const SoloResult result, RunSolo(options, run.layout));
  if (show_progress) {
    std::cerr << "\n";
  }
  if (command.json) {
    std::cout << nlohmann::json{{"site", config.site()},
                                {"steps", result.steps},
                                {"train_loss", result.train_loss_last},
                                {"val_loss", result.val_loss_last},
                                {"val_loss_first", result.val_loss_first},
                                {"val_loss_by_folder", result.val_loss_last_by_folder},
                                {"unigram_loss", result.unigram_loss}}
                     .dump()
              << "\n";
    return absl::OkStatus();
  }
  const bool has_classes = !std::isnan(result.unigram_loss);
  const char* const unit = !has_classes ? " (mean squared error)\n" : " nats\n";
  std::cout << "site " << config.site() << " alone, " << result.steps << " steps\n"
            << "validation loss   " << result.val_loss_first << " -> " << result.val_loss_last << unit << "training loss     "
            << result.train_loss_last << unit;
  if (has_classes) {
    std::cout << "unigram loss      " << result.unigram_loss << unit;
  }
  return absl::OkStatus();
}

// Asked before anybody has offered the run.
absl::Status Consent(const ConsentCommand& command) {
  v1::WorkerConfig config;
  TRIBUTARY_RETURN_IF_ERROR(LoadYaml(command.config, &config));
  TRIBUTARY_RETURN_IF_ERROR(ValidateConsent(config.consent()));
  TRIBUTARY_ASSIGN_OR_RETURN(const LoadedRun run, LoadRun(command.run));
  TRIBUTARY_ASSIGN_OR_RETURN(const std::string disclosed,
                             Disclosure(run.spec, config.withhold_losses() ? Reported::kWithoutLosses : Reported::kAll));
  std::cout << "run " << run.spec.name() << " would disclose, to the coordinator: " << disclosed << "\n";
  TRIBUTARY_RETURN_IF_ERROR(Agree(config.consent(), run.spec).status());
  std::cout << "it is within this site's consent, if the site has " << config.consent().min_samples() << " samples to train on\n";
  return absl::OkStatus();
}

doctor::Surroundings SurroundingsHere() {
  doctor::Surroundings surroundings;
  surroundings.clock = &Clock::Real();
  const Environment environment = EnvironmentHere();
  surroundings.time_zone = environment.time_zone;
  surroundings.proxies = environment.proxies;
  return surroundings;
}

ExitCode Doctor(const DoctorCommand& command) {
  doctor::Surroundings surroundings = SurroundingsHere();
  surroundings.insecure = command.insecure;
  surroundings.insecure_anywhere = command.insecure_anywhere;
  const doctor::Findings findings = doctor::ExamineSite(surroundings, command.config);
  std::cout << doctor::FindingsPage(findings, command.json ? doctor::Format::kJson : doctor::Format::kText);
  return doctor::Outcome(findings);
}

absl::Status Status(const StatusCommand& command) {
  v1::WorkerConfig config;
  TRIBUTARY_RETURN_IF_ERROR(LoadYaml(command.config, &config));
  const std::vector<Sent> all = ReadSentHistory(config.state_dir());
  if (!command.json) {
    std::cout << SentText(all, command.last);
    return absl::OkStatus();
  }
  nlohmann::ordered_json json = {{"site", config.site()}, {"sent", nlohmann::ordered_json::array()}};
  for (const Sent& sent : all) {
    json["sent"].push_back(SentJson(sent));
  }
  std::cout << json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) << "\n";
  return absl::OkStatus();
}

void AddRunOptions(CLI::App& app, RunCommand& command) {
  app.add_option("--config", command.config, "worker.yaml");
  app.add_flag("--once", command.once, "exit after the first run that this site took part in, or when it refuses a run");
  app.add_option("--connect-timeout", command.connect_timeout,
                 "give up if the coordinator is not reached within this time (30s, 5m); default: never");
  app.add_flag("--watch-config", command.watch_config, "also read the configuration again when its file has changed, as on SIGHUP");
  app.add_flag("--insecure", command.security.insecure, "no TLS; loopback only, for trials on one machine");
  app.add_flag("--insecure-anywhere", command.security.insecure_anywhere, "with --insecure: allow any address");
}

ExitCode Main(int argc, char** argv) {
  LogLevel log_level = LogLevel::kInfo;
  RunCommand run;
  DoctorCommand doctor;
  StatusCommand what_was_sent;
  SoloCommand solo;
  SampleCommand sample;
  ConsentCommand consent;
  MemberCommand member;
  DataCommand data;
  PredictCommand predict;

  CLI::App app("Trains a federation's model on this site's data, which stays here.", "tributary-worker");
  app.set_version_flag("--version", VersionText("tributary-worker", FormatProtocol({}), LibTorchVersion()));
  app.require_subcommand(0, 1);
  app.fallthrough();
  AddLogLevelOption(&app, &log_level);
  AddRunOptions(app, run);
  CLI::App& run_app = *app.add_subcommand("run", "Take part in the federation's runs (the default)");
  AddRunOptions(run_app, run);

  std::string format = "text";
  CLI::App& doctor_app =
      *app.add_subcommand("doctor", "Check certificate, clock, data, disk, memory, consent, what is sent, and the way to the coordinator");
  doctor_app.add_option("--config", doctor.config, "worker.yaml")->required();
  doctor_app.add_flag("--insecure", doctor.insecure, "no TLS; loopback only, for trials on one machine");
  doctor_app.add_flag("--insecure-anywhere", doctor.insecure_anywhere, "with --insecure: allow any address");
  doctor_app.add_option("--format", format, "output format: text or json")->capture_default_str()->check(CLI::IsMember({"text", "json"}));

  CLI::App& status_app = *app.add_subcommand("status", "Show what this site sent: when, to whom, of which run and round, how many bytes");
  status_app.add_option("--config", what_was_sent.config, "worker.yaml")->required();
  status_app.add_option("--last", what_was_sent.last, "newest entries to show one by one")->capture_default_str();
  status_app.add_option("--format", format, "output format: text or json (all entries)")
      ->capture_default_str()
      ->check(CLI::IsMember({"text", "json"}));

  CLI::App& consent_app = *app.add_subcommand("consent", "Say what a run would disclose, and whether this site's consent covers it");
  consent_app.add_option("--config", consent.config, "worker.yaml")->required();
  consent_app.add_option("--run", consent.run, "run.yaml")->required();

  const CLI::App& data_app = AddDataCommand(app, data, format);
  const CLI::App& predict_app = AddPredictCommand(app, predict);
  const CLI::App& runs_app = AddRunsCommand(app, member, format);
  const CLI::App& export_app = AddExportCommand(app, member, format);

  EnrollCommand enroll;
  const CLI::App& enroll_app = AddEnrollCommand(app, enroll);

  CLI::App& solo_app = *app.add_subcommand("solo", "Train alone on this site's data: what the site would reach without a federation");
  solo_app.add_option("--config", solo.config, "worker.yaml")->required();
  solo_app.add_option("--run", solo.run, "run.yaml")->required();
  solo_app.add_option("--eval-data", solo.eval_data,
                      "folder whose validation split is evaluated; may be repeated (default: this site's data)");
  solo_app.add_option("--learning-rate", solo.learning_rate, "peak learning rate (AdamW)")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  solo_app.add_option("--format", format, "output format: text or json")->capture_default_str()->check(CLI::IsMember({"text", "json"}));

  const CLI::App& sample_app = AddSampleCommand(app, sample);

  if (const auto end = ParseCommandLine(&app, {argv + 1, argv + argc}, std::cout, std::cerr); end.has_value()) {
    return *end;
  }
  solo.json = doctor.json = what_was_sent.json = member.json = data.json = format == "json";
  SetLogLevel(log_level);
  if (app.count("--log-level") > 0) {
    run.log_level = log_level;
  }
  RequireTls13();
  RouteGrpcLog(LogLevel::kDebug);

  if (doctor_app.parsed()) {
    return Doctor(doctor);
  }
  if (enroll_app.parsed()) {
    return Enroll(enroll, SurroundingsHere());
  }
  const absl::Status status = solo_app.parsed()      ? Solo(solo)
                              : sample_app.parsed()  ? Sample(sample)
                              : consent_app.parsed() ? Consent(consent)
                              : status_app.parsed()  ? Status(what_was_sent)
                              : data_app.parsed()    ? RunDataCommand(data)
                              : predict_app.parsed() ? PredictRows(predict)
                              : runs_app.parsed()    ? ShowRuns(member, ProxyEnvironmentOf(environ))
                              : export_app.parsed()  ? ExportModel(member, ProxyEnvironmentOf(environ))
                                                     : Run(run);
  if (!status.ok()) {
    LogError(kComponent, status.message());
  }
  return ExitCodeOf(status);
}

}  // namespace
}  // namespace tributary::worker

int main(int argc, char** argv) {
  umask(077);  // what is kept of a site's training is for this user alone
  signal(SIGPIPE, SIG_IGN);
  tributary::StandardOutput output(STDOUT_FILENO);
  return output.End("tributary-worker", tributary::worker::Main(argc, argv));
}
