// How long a coordinator takes to come back: a run of 25.2M parameters and two sites, restarted with its newest snapshot so many rounds
// old. Everything is the real thing but the sites' gradients and the clock of the rounds; the folder is in memory, as a page cache would
// have it. restart_bench [ROUNDS...]
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/log.h"
#include "proto/config/yaml.h"
#include "tests/coordinator/federation.h"

namespace tributary::coordinator {
namespace {

constexpr char kRun[] =
    "name: bench\nrounds: 100000\nmodel: {mlp: {inputs: 1024, hidden: [4096, 4096], outputs: 1024}}\n"
    "data: {kind: csv, label_column: y}\noptimizer: {mode: distro, k: 8, learning_rate: {peak: 0.001}}\n"
    "participation: {min_workers: 2}\n";

// Of all threads of this process.
double CpuSeconds() {
  return static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
}

double Seconds(absl::Time since) {
  return absl::ToDoubleSeconds(Clock::Real().Now() - since);
}

int Main(const std::vector<uint64_t>& ages) {
  SetLogLevel(LogLevel::kWarning);
  v1::RunSpec spec;
  if (!ParseYaml(kRun, "run.yaml", &spec).ok()) {
    return 1;
  }
  Federation federation(2, /*snapshot_every=*/1);
  const std::string run = Submit(federation, spec);
  for (const uint64_t age : ages) {
    // The first round has the one snapshot. A run without end must be interrupted: without the second site's updates the round after `age`
    // more of them stays open.
    federation.site(1).alter = [age](std::string& payload, uint64_t round) {
      if (round > age + 1) {
        payload.clear();
      }
    };
    federation.ConnectAll();
    const uint64_t round = federation.Status(run).round() - 1;
    federation.config.mutable_snapshots()->set_every(1'000'000);
    federation.Crash();
    const absl::Time start = Clock::Real().Now();
    const double cpu_start = CpuSeconds();
    if (const absl::Status restarted = federation.Restart(); !restarted.ok()) {
      std::fprintf(stderr, "%s\n", restarted.ToString().c_str());
      return 1;
    }
    std::printf("{\"rounds_since_snapshot\": %lu, \"restart_seconds\": %.3f, \"cpu_seconds\": %.3f}\n", static_cast<unsigned long>(round),
                Seconds(start), CpuSeconds() - cpu_start);
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace
}  // namespace tributary::coordinator

int main(int argc, char** argv) {
  std::vector<uint64_t> ages;
  for (int i = 1; i < argc; ++i) {
    ages.push_back(std::strtoull(argv[i], nullptr, 10));
  }
  return tributary::coordinator::Main(ages.empty() ? std::vector<uint64_t>{0, 10, 50, 100} : ages);
}
