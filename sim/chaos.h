// Many seeds, on all cores.
#ifndef TRIBUTARY_SIM_CHAOS_H_
#define TRIBUTARY_SIM_CHAOS_H_

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "sim/world.h"

namespace tributary::sim {

struct ChaosOptions {
  uint64_t first_seed = 1;
  uint64_t seeds = 1;
  uint64_t rounds = 50;  // of each seed's run
  int workers = 8;
  int jobs = 1;  // processes
  // Told every now and then how many seeds are done.
  std::function<void(uint64_t done)> progress;
};

struct FailedSeed {
  uint64_t seed = 0;
  double at = 0;  // simulated seconds
  uint64_t event = 0;
  std::string invariant;
  std::string detail;
};

struct ChaosReport {
  uint64_t seeds = 0;
  uint64_t rounds = 0;  // committed, over all seeds
  uint64_t events = 0;
  double simulated_seconds = 0;
  double cpu_seconds = 0;                  // of all processes
  std::map<std::string, uint64_t> faults;  // by kind
  std::map<std::string, uint64_t> runs;    // by how they ended
  std::vector<FailedSeed> failed;          // ascending
};

// Each job is a process of its own: one that crashes fails its seed and leaves the others.
absl::StatusOr<ChaosReport> RunChaos(const ChaosOptions& options);

// One seed with its trace on standard output.
ChaosReport TraceSeed(uint64_t seed, uint64_t rounds, int workers);

}  // namespace tributary::sim

#endif  // TRIBUTARY_SIM_CHAOS_H_
