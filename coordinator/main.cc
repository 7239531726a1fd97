// tributary-coordinator: schedules the rounds of a federation's runs and aggregates their updates.
#include <malloc.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/clock.h"
#include "common/command_line.h"
#include "common/descriptors.h"
#include "common/exit_codes.h"
#include "common/file_watch.h"
#include "common/grpc_log.h"
#include "common/log.h"
#include "common/standard_output.h"
#include "common/stop_signals.h"
#include "common/tls.h"
#include "coordinator/server.h"
#include "doctor/examine.h"
#include "proto/config/reload.h"
#include "proto/config/yaml.h"
#include "proto/protocol_version.h"
#include "tributary/v1/config.pb.h"

namespace tributary::coordinator {
namespace {

constexpr char kComponent[] = "coordinator";
// After the drain, for calls to end.
constexpr absl::Duration kShutdownGrace = absl::Seconds(3);
// Of the program itself; and of a site: its connection, one that replaces it, and files of its transfers.
constexpr uint64_t kDescriptors = 256;
constexpr uint64_t kDescriptorsOfSite = 4;

struct CommandLine {
  std::string config;
  bool check = false;
  bool watch_config = false;
  bool insecure = false;
  bool insecure_anywhere = false;
  std::optional<LogLevel> log_level;
};

ExitCode Fail(const absl::Status& status) {
  LogError(kComponent, status.message());
  return ExitCodeOf(status);
}

// The first fatal error; it wakes the main thread as SIGTERM does.
class FatalError {
 public:
  void Report(const absl::Status& status) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (!status_.ok()) {
        return;
      }
      status_ = status;
    }
    kill(getpid(), SIGTERM);
  }
  absl::Status status() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return status_;
  }

 private:
  mutable std::mutex mutex_;
  absl::Status status_;
};

void SetLoggingOf(const v1::CoordinatorConfig& config, const CommandLine& command) {
  SetLogFormat(LogFormatOf(config.log_format()));
  SetLogLevel(command.log_level.value_or(LogLevelOf(config.log_level())));
}

// On SIGHUP, which a watched configuration that has changed sends, too.
void Reload(const CommandLine& command, Server& server) {
  v1::CoordinatorConfig config;
  absl::Status status = LoadYaml(command.config, &config);
  if (status.ok()) {
    status = server.Reload(config);
  }
  if (!status.ok()) {
    LogError(kComponent, "nothing is reloaded, and all stays as it was: ", status.message());
    return;
  }
  SetLoggingOf(config, command);
}

ExitCode Run(const CommandLine& command) {
  std::optional<FileWatch> watch;
  if (command.watch_config && !command.check) {
    watch.emplace(command.config, [] { kill(getpid(), SIGHUP); });
  }
  v1::CoordinatorConfig config;
  if (const absl::Status status = LoadYaml(command.config, &config); !status.ok()) {
    return Fail(status);
  }
  SetLoggingOf(config, command);
  FatalError fatal;
  Server::Options options;
  options.insecure = command.insecure;
  options.insecure_anywhere = command.insecure_anywhere;
  options.fatal = [&fatal](const absl::Status& status) { fatal.Report(status); };
  if (command.check) {
    if (const absl::Status status = Server::Check(config, options); !status.ok()) {
      return Fail(status);
    }
    std::cout << command.config << ": OK\n";
    return ExitCode::kOk;
  }
  const uint64_t descriptors = RaiseDescriptorLimit();
  if (const uint64_t needed = kDescriptors + kDescriptorsOfSite * config.sites_size(); descriptors < needed) {
    LogWarning(kComponent, "may have ", descriptors, " files and connections open, and may need ", needed, " for ", config.sites_size(),
               " sites: raise the hard limit (LimitNOFILE= of systemd, ulimit -Hn)");
  }
  absl::StatusOr<std::unique_ptr<Server>> server = Server::Start(config, options);
  if (!server.ok()) {
    return Fail(server.status());
  }

  int signal = TakeDaemonSignal();
  for (; signal == SIGHUP; signal = TakeDaemonSignal()) {
    Reload(command, **server);
  }
  if (const absl::Status status = fatal.status(); !status.ok()) {
    (*server)->Shutdown(absl::ZeroDuration());
    return Fail(status);
  }
  LogInfo(kComponent, "stopping: finishing the round in flight (a second signal stops at once)");
  // The end of the drain wakes this thread as a second signal would.
  std::atomic<bool> drained = false;
  (*server)->Drain([&drained] {
    drained = true;
    kill(getpid(), SIGTERM);
  });
  while (TakeDaemonSignal() == SIGHUP) {
  }
  (*server)->Shutdown(drained ? kShutdownGrace : absl::ZeroDuration());
  if (const absl::Status status = fatal.status(); !status.ok()) {
    return Fail(status);
  }
  LogInfo(kComponent, "stopped");
  return signal == SIGINT ? ExitCode::kInterrupted : ExitCode::kOk;
}

ExitCode Doctor(const CommandLine& command, doctor::Format format) {
  doctor::Surroundings surroundings;
  surroundings.clock = &Clock::Real();
  const char* const tz = std::getenv("TZ");
  surroundings.time_zone = tz != nullptr ? std::make_optional<std::string>(tz) : std::nullopt;
  surroundings.insecure = command.insecure;
  surroundings.insecure_anywhere = command.insecure_anywhere;
  const doctor::Findings findings = doctor::ExamineCoordinator(surroundings, command.config);
  std::cout << doctor::FindingsPage(findings, format);
  return doctor::Outcome(findings);
}

// What a run needs is looked at before it is taken; this is for all else.
[[noreturn]] void OnOutOfMemory() {
  constexpr char kText[] = "ERROR coordinator: out of memory; give it more (nothing that was acknowledged is lost)\n";
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, kText, sizeof(kText) - 1);
  std::_Exit(static_cast<int>(ExitCode::kMemory));
}

ExitCode Main(int argc, char** argv) {
  CommandLine command;
  CLI::App app("Schedules the rounds of a federation's runs and aggregates their updates.", "tributary-coordinator");
  app.set_version_flag("--version", VersionText("tributary-coordinator", FormatProtocol({})));
  app.add_option("--config", command.config, "coordinator.yaml")->required();
  app.add_flag("--check", command.check, "check the configuration and certificates, and exit");
  app.add_flag("--watch-config", command.watch_config, "also read the configuration again when its file has changed, as on SIGHUP");
  app.add_flag("--insecure", command.insecure, "no TLS; loopback only, for trials on one machine");
  app.add_flag("--insecure-anywhere", command.insecure_anywhere, "with --insecure: allow any address");
  app.require_subcommand(0, 1);
  app.fallthrough();
  CLI::App& doctor_app = *app.add_subcommand("doctor", "Check certificate, clock, disk, memory and ports of this machine");
  std::string format = "text";
  doctor_app.add_option("--format", format, "output format: text or json")->capture_default_str()->check(CLI::IsMember({"text", "json"}));
  LogLevel log_level = LogLevel::kInfo;
  AddLogLevelOption(&app, &log_level);
  if (const auto end = ParseCommandLine(&app, {argv + 1, argv + argc}, std::cout, std::cerr); end.has_value()) {
    return *end;
  }
  if (command.insecure_anywhere && !command.insecure) {
    return Fail(absl::InvalidArgumentError("--insecure-anywhere needs --insecure"));
  }
  if (app.count("--log-level") > 0) {
    command.log_level = log_level;
  }

  std::set_new_handler(OnOutOfMemory);
  BlockDaemonSignals();
  RequireTls13();
  RouteGrpcLog(LogLevel::kWarning);
  return doctor_app.parsed() ? Doctor(command, format == "json" ? doctor::Format::kJson : doctor::Format::kText) : Run(command);
}

}  // namespace
}  // namespace tributary::coordinator

int main(int argc, char** argv) {
  umask(077);  // updates and models are for this user alone
  // A peer that goes away, and a file past a size limit, are errors of the call, not the end of the process.
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);
  // Frames of transfers are allocated on one thread and freed on another: with an arena for each thread, freed frames add up.
  mallopt(M_ARENA_MAX, 2);
  tributary::StandardOutput output(STDOUT_FILENO);
  return output.End("tributary-coordinator", tributary::coordinator::Main(argc, argv));
}
