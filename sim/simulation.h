// One federation from its first message to the end of its runs, in one thread, by one seed.
#ifndef TRIBUTARY_SIM_SIMULATION_H_
#define TRIBUTARY_SIM_SIMULATION_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "sim/network.h"
#include "sim/scenario.h"
#include "sim/sim_coordinator.h"
#include "sim/sim_disk.h"
#include "sim/sim_worker.h"
#include "sim/take_back.h"
#include "sim/witness.h"
#include "sim/world.h"

namespace tributary::sim {

struct Outcome {
  std::optional<Violation> violation;
  uint64_t trace_hash = 0;
  uint64_t events = 0;
  uint64_t commits = 0;
  absl::Duration simulated;
  std::map<std::string, uint64_t> faults;
  // Of each run that was submitted.
  std::vector<v1::RunState> states;
  // Of the last state, raw bytes; in order, without runs whose submission was interrupted (and which were submitted again).
  std::vector<std::string> hashes;
  // Of the first run, if the coordinator was there at the end.
  v1::RunStatus status;
  v1::RunHistory history;
  // Real trainers: why the simulation ended early. The coordinator's answer to the submission, or what a site's data lacks.
  absl::Status error;
};

// Not thread-safe; simulations in one process follow each other or have threads of their own.
class Simulation {
 public:
  explicit Simulation(const Scenario& scenario);

  // Once.
  Outcome Run();

  World& world() { return world_; }
  // For planted defects.
  SimDisk& disk() { return disk_; }
  SimCoordinator& coordinator() { return coordinator_; }
  Network& network() { return network_; }
  std::function<absl::StatusOr<coordinator::Truncation>(SimDisk& disk, const std::string& run_id, uint64_t round)> take_back = TakeBack;
  Witness& witness() { return witness_; }

 private:
  void Submit();
  bool Extend();
  static bool Interrupted(const WitnessedRun& run);
  bool Submitted(const std::string& name) const;
  void ScheduleFault();
  void Inject(Fault fault);
  SimWorker& AnyWorker();
  void Heal();
  void Resume(const std::string& run_id);
  void TakeLogBack(absl::Duration pause);
  // Where the runs stand, for people.
  std::string Standing();
  void Describe(Outcome& outcome);
  // What is not checked where it happens.
  void CheckStatus();
  void CheckEnd();

  const Scenario scenario_;
  World world_;
  Witness witness_;
  SimDisk disk_;
  SimCoordinator coordinator_;
  Network network_;
  std::vector<std::unique_ptr<Mischief>> mischief_;
  std::vector<std::unique_ptr<SimWorker>> workers_;
  bool submitted_ = false;
  absl::Status error_;
  Death coordinator_death_ = Death::kNoticed;  // of the next one
};

// Runs the scenario's seed. Lossless: also compares the model with that of the quiet run, which is kept for the next.
enum class Tracing { kOff, kOn };
Outcome RunScenario(const Scenario& scenario, Tracing tracing = Tracing::kOff);

}  // namespace tributary::sim

#endif  // TRIBUTARY_SIM_SIMULATION_H_
