// tributary-sim: a federation in one process, for finding defects (--chaos) and for trying a run file.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/clock.h"
#include "common/exit_codes.h"
#include "common/files.h"
#include "common/log.h"
#include "common/status_macros.h"
#include "tests/sim/chaos.h"

namespace tributary::sim {
namespace {

struct Command {
  bool chaos = false;
  ChaosOptions options;
  uint64_t seed = 1;
  bool one_seed = false;
  bool trace = false;
  std::string json;
};

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
          {"seconds", seconds}};
}

void Print(const ChaosReport& report, const Command& command, double seconds) {
  for (const FailedSeed& failed : report.failed) {
    std::printf("seed %llu, %.3f simulated seconds, event %llu: %s: %s\n  replay: %s\n", static_cast<unsigned long long>(failed.seed),
                failed.at, static_cast<unsigned long long>(failed.event), failed.invariant.c_str(), failed.detail.c_str(),
                ReplayCommand(failed.seed, command).c_str());
  }
  std::printf("%llu seeds, %llu rounds, %llu events, %.0f simulated hours in %.1f s: %zu violations\n",
              static_cast<unsigned long long>(report.seeds), static_cast<unsigned long long>(report.rounds),
              static_cast<unsigned long long>(report.events), report.simulated_seconds / 3600, seconds, report.failed.size());
  for (const auto& [state, count] : report.runs) {
    std::printf("  runs %-26s %10llu\n", state.c_str(), static_cast<unsigned long long>(count));
  }
  for (const auto& [kind, count] : report.faults) {
    std::printf("  %-31s %10llu\n", kind.c_str(), static_cast<unsigned long long>(count));
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
      return absl::InvalidArgumentError("--trace shows one seed: name it with --seed");
    }
    report = TraceSeed(command.seed, command.options.rounds, command.options.workers);
  } else {
    if (isatty(STDERR_FILENO) != 0) {
      command.options.progress = [seeds = command.options.seeds](uint64_t done) {
        std::fprintf(stderr, "\r%llu of %llu seeds", static_cast<unsigned long long>(done), static_cast<unsigned long long>(seeds));
      };
    }
    TRIBUTARY_ASSIGN_OR_RETURN(report, RunChaos(command.options));
    if (command.options.progress) {
      std::fprintf(stderr, "\r\x1b[K");
    }
  }
  const double seconds = absl::ToDoubleSeconds(Clock::Real().Now() - start);
  Print(report, command, seconds);
  if (!command.json.empty()) {
    TRIBUTARY_RETURN_IF_ERROR(WriteFileAtomically(command.json, ToJson(report, command, seconds).dump(2) + "\n"));
  }
  if (!report.failed.empty()) {
    return absl::InternalError(absl::StrCat(report.failed.size(), " of ", report.seeds, " seeds violate an invariant"));
  }
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  Command command;
  command.options.jobs = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  CLI::App app("A federation in one process and one thread: the real coordinator and workers on a simulated clock, network and disk.",
               "tributary-sim");
  app.set_version_flag("--version", std::string("tributary-sim ") + TRIBUTARY_VERSION);
  app.add_flag("--chaos", command.chaos, "look for defects: a scenario of faults for every seed")->required();
  app.add_option("--seeds", command.options.seeds, "how many")->capture_default_str()->check(CLI::PositiveNumber);
  app.add_option("--first-seed", command.options.first_seed, "the first of them")->capture_default_str();
  const CLI::Option* const seed = app.add_option("--seed", command.seed, "this seed alone");
  app.add_flag("--trace", command.trace, "print what happens; with --seed");
  app.add_option("--rounds", command.options.rounds, "of each run")->capture_default_str()->check(CLI::Range(1, 100000));
  app.add_option("--workers", command.options.workers, "sites")->capture_default_str()->check(CLI::Range(1, 1000));
  app.add_option("--jobs", command.options.jobs, "processes")->capture_default_str()->check(CLI::Range(1, 1024));
  app.add_option("--json", command.json, "also write the result to this file");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : static_cast<int>(ExitCode::kUsage);
  }
  command.one_seed = seed->count() > 0;
  const absl::Status status = Chaos(command);
  if (!status.ok()) {
    std::cerr << "tributary-sim: " << status.message() << "\n";
  }
  return static_cast<int>(ExitCodeOf(status));
}

}  // namespace
}  // namespace tributary::sim

int main(int argc, char** argv) {
  return tributary::sim::Main(argc, argv);
}
