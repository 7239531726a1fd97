// What one seed stands for: the run, the federation, and the faults that it meets.
#ifndef TRIBUTARY_SIM_SCENARIO_H_
#define TRIBUTARY_SIM_SCENARIO_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "sim/network.h"
#include "tributary/v1/config.pb.h"
#include "tributary/v1/run.pb.h"
#include "worker/training_run.h"

namespace tributary::sim {

enum class Fault {
  kCoordinatorKill,
  kCoordinatorPowerLoss,
  kDiskDeath,  // in the middle of a disk operation
  kDiskFull,
  kDiskFailure,
  kDrain,
  kClockJump,
  kBrokenSession,
  kPartition,
  kFreeze,
  kWorkerKill,
  kWorkerPowerLoss,
  kWorkerDiskDeath,
  kWorkerDiskTrouble,
  kWorkerDiskLoss,  // starts again with an empty disk
  kBitFlip,
  kWorkerStop,
  kPauseRun,  // and resumed a while later
  kStopRun,
  kTakeBack,  // `tributary journal truncate-to`, with the coordinator stopped
};

// A fault at a set time.
struct Incident {
  enum class Kind { kBrokenSession, kWorkerKill };
  absl::Duration at;
  Kind kind = Kind::kBrokenSession;
  int site = 0;
};

struct Scenario {
  enum class Kind {
    kQuiet,      // no faults
    kLossless,   // faults that lose no update: the model must be that of the quiet run
    kTakenBack,  // the same, and logs are taken back: the run must finish, with whatever model
    kAnything,
  };
  Kind kind = Kind::kQuiet;
  uint64_t seed = 0;
  int workers = 8;
  std::vector<v1::RunSpec> runs;  // submitted at once; those that share sites queue
  // The first is submitted with so many of its rounds, and extended by the others so long after its submission; 0: with all.
  uint64_t submitted_rounds = 0;
  absl::Duration extended_after = absl::ZeroDuration();
  v1::CoordinatorConfig coordinator;
  // What the coordinator's clock moves on by at each look: more than nothing, or the work between two looks takes no time, and
  // `snapshots.replay` never has anything to count.
  absl::Duration tick = absl::ZeroDuration();
  // By site, as in worker.yaml; fewer than sites: the others have none.
  std::vector<std::string> quiet_hours;
  std::vector<uint64_t> bandwidth_up;
  v1::Persist persist = v1::EVERY_ROUND;
  absl::Duration disk_write_time = absl::ZeroDuration();  // of the sites (SimDisk::write_time)
  uint64_t max_logged_payload = worker::kMaxLoggedPayload;
  NetworkConditions network;
  absl::Duration training = absl::Milliseconds(500);
  // By site, of one local step; fewer than sites: training of the others takes the time above, however many steps it has.
  std::vector<absl::Duration> step_times;
  std::vector<Fault> faults;  // each as likely as the others
  absl::Duration fault_interval = absl::Seconds(4);
  absl::Duration faults_until = absl::ZeroDuration();
  std::vector<Incident> incidents;  // besides
  int hostile_site = -1;
  // Empty: synthetic trainers, which read no data.
  worker::TrainerFactory make_trainer;
  std::vector<std::string> data_folders;  // by site
  uint32_t threads = 1;                   // for training
  // Told of each commit, if set.
  std::function<void(const v1::RoundRecord& record)> on_commit;
  // Asked after each event, if set: an error ends the simulation with it.
  std::function<absl::Status()> interrupted;
  // Simulated time within which all runs must be over.
  absl::Duration limit = absl::Hours(1);
};

// `rounds` of the first run, `workers` (at most 1000) sites.
Scenario ScenarioOf(uint64_t seed, uint64_t rounds, int workers);
// Faults that lose no update, and a network to match.
void AddLosslessFaults(Scenario& scenario);
// The same runs without a fault.
Scenario QuietOf(const Scenario& scenario);

}  // namespace tributary::sim

#endif  // TRIBUTARY_SIM_SCENARIO_H_
