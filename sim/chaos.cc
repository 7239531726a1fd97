#include "sim/chaos.h"

#include <poll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "sim/scenario.h"
#include "sim/simulation.h"

namespace tributary::sim {
namespace {

constexpr int kProgressMilliseconds = 200;

// Seen by parent and child.
struct Standing {
  std::atomic<uint64_t> current_seed;
  std::atomic<uint64_t> done;
};

void Add(const Outcome& outcome, uint64_t seed, ChaosReport& report) {
  ++report.seeds;
  report.rounds += outcome.commits;
  report.events += outcome.events;
  report.simulated_seconds += absl::ToDoubleSeconds(outcome.simulated);
  for (const auto& [kind, count] : outcome.faults) {
    report.faults[kind] += count;
  }
  for (const v1::RunState state : outcome.states) {
    ++report.runs[absl::AsciiStrToLower(v1::RunState_Name(state))];
  }
  if (outcome.violation.has_value()) {
    report.failed.push_back({seed, absl::ToDoubleSeconds(outcome.violation->at), outcome.violation->event, outcome.violation->invariant,
                             outcome.violation->detail});
  }
}

nlohmann::json ToJson(const ChaosReport& report) {
  nlohmann::json failed = nlohmann::json::array();
  for (const FailedSeed& seed : report.failed) {
    failed.push_back({seed.seed, seed.at, seed.event, seed.invariant, seed.detail});
  }
  return {{"seeds", report.seeds},   {"rounds", report.rounds}, {"events", report.events}, {"simulated", report.simulated_seconds},
          {"faults", report.faults}, {"runs", report.runs},     {"failed", failed}};
}

void Merge(const nlohmann::json& json, ChaosReport& report) {
  report.seeds += json["seeds"].get<uint64_t>();
  report.rounds += json["rounds"].get<uint64_t>();
  report.events += json["events"].get<uint64_t>();
  report.simulated_seconds += json["simulated"].get<double>();
  for (const auto& [kind, count] : json["faults"].items()) {
    report.faults[kind] += count.get<uint64_t>();
  }
  for (const auto& [state, count] : json["runs"].items()) {
    report.runs[state] += count.get<uint64_t>();
  }
  for (const nlohmann::json& seed : json["failed"]) {
    report.failed.push_back(
        {seed[0].get<uint64_t>(), seed[1].get<double>(), seed[2].get<uint64_t>(), seed[3].get<std::string>(), seed[4].get<std::string>()});
  }
}

// The seeds of job `job`; its report goes to `pipe`.
void RunJob(const ChaosOptions& options, int job, int pipe, Standing& standing) {
  ChaosReport report;
  for (uint64_t i = job; i < options.seeds; i += options.jobs) {
    const uint64_t seed = options.first_seed + i;
    standing.current_seed = seed;
    Add(RunScenario(ScenarioOf(seed, options.rounds, options.workers)), seed, report);
    ++standing.done;
  }
  const std::string text = ToJson(report).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
  for (size_t written = 0; written < text.size();) {
    const ssize_t n = write(pipe, text.data() + written, text.size() - written);
    if (n <= 0) {
      _exit(1);
    }
    written += n;
  }
}

struct Job {
  pid_t process = 0;
  int pipe = -1;
  std::string text;
};

// Reads what jobs report until all have ended.
void Collect(std::vector<Job>& jobs, const Standing* standings, const ChaosOptions& options) {
  while (true) {
    std::vector<pollfd> waiting;
    for (const Job& job : jobs) {
      if (job.pipe >= 0) {
        waiting.push_back({job.pipe, POLLIN, 0});
      }
    }
    if (waiting.empty()) {
      return;
    }
    poll(waiting.data(), waiting.size(), kProgressMilliseconds);
    for (const pollfd& ready : waiting) {
      if (ready.revents == 0) {
        continue;
      }
      Job& job = *std::find_if(jobs.begin(), jobs.end(), [&](const Job& candidate) { return candidate.pipe == ready.fd; });
      char buffer[65536];
      const ssize_t n = read(job.pipe, buffer, sizeof(buffer));
      if (n > 0) {
        job.text.append(buffer, n);
      } else if (n == 0 || errno != EINTR) {
        close(std::exchange(job.pipe, -1));
      }
    }
    if (options.progress) {
      uint64_t done = 0;
      for (size_t i = 0; i < jobs.size(); ++i) {
        done += standings[i].done;
      }
      options.progress(done);
    }
  }
}

}  // namespace

absl::StatusOr<ChaosReport> RunChaos(const ChaosOptions& options) {
  const size_t shared_bytes = sizeof(Standing) * options.jobs;
  void* const shared = mmap(nullptr, shared_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) {
    return absl::InternalError(absl::StrCat("no memory to share between processes: ", std::strerror(errno)));
  }
  auto* const standings = static_cast<Standing*>(shared);  // zeroed
  std::fflush(nullptr);
  std::vector<Job> jobs(options.jobs);
  for (int i = 0; i < options.jobs; ++i) {
    int ends[2];
    if (pipe(ends) != 0) {
      return absl::InternalError(absl::StrCat("cannot make a pipe: ", std::strerror(errno)));
    }
    jobs[i].pipe = ends[0];
    jobs[i].process = fork();
    if (jobs[i].process < 0) {
      return absl::InternalError(absl::StrCat("cannot start a process: ", std::strerror(errno)));
    }
    if (jobs[i].process == 0) {
      close(ends[0]);
      RunJob(options, i, ends[1], standings[i]);
      _exit(0);
    }
    close(ends[1]);
  }
  Collect(jobs, standings, options);

  ChaosReport report;
  for (size_t i = 0; i < jobs.size(); ++i) {
    int status = 0;
    waitpid(jobs[i].process, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
      Merge(nlohmann::json::parse(jobs[i].text), report);
      continue;
    }
    report.seeds += standings[i].done + 1;
    report.failed.push_back({standings[i].current_seed, 0, 0, "the process survives",
                             WIFSIGNALED(status)
                                 ? absl::StrCat("killed by signal ", WTERMSIG(status), "; the other seeds of its job were not run")
                                 : absl::StrCat("ended with ", WEXITSTATUS(status))});
  }
  munmap(shared, shared_bytes);
  rusage used{};
  getrusage(RUSAGE_CHILDREN, &used);
  report.cpu_seconds = static_cast<double>(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                       static_cast<double>(used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1e-6;
  std::sort(report.failed.begin(), report.failed.end(), [](const FailedSeed& a, const FailedSeed& b) { return a.seed < b.seed; });
  return report;
}

ChaosReport TraceSeed(uint64_t seed, uint64_t rounds, int workers) {
  ChaosReport report;
  const Outcome outcome = RunScenario(ScenarioOf(seed, rounds, workers), Tracing::kOn);
  std::cout << absl::StreamFormat("seed %d: %d events, trace hash %016x\n", seed, outcome.events, outcome.trace_hash);
  Add(outcome, seed, report);
  return report;
}

}  // namespace tributary::sim
