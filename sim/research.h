// A run in one process: the real model and training of every site, without a network in between.
#ifndef TRIBUTARY_SIM_RESEARCH_H_
#define TRIBUTARY_SIM_RESEARCH_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "sim/simulation.h"
#include "tributary/v1/admin.pb.h"
#include "tributary/v1/run.pb.h"
#include "worker/training_run.h"

namespace tributary::sim {

enum class Weather { kFair, kFaults };

inline constexpr absl::Duration kStepTime = absl::Milliseconds(100);

// A site of the run, and its data as in worker.yaml.
struct ResearchSite {
  std::string name;
  std::string data;
};

struct ResearchOptions {
  v1::RunSpec run;
  std::string run_name;             // stands for the run's file in messages
  std::string initial_weights_dir;  // of the file that the run may start from
  std::vector<ResearchSite> sites;  // each once
  worker::TrainerFactory make_trainer;
  uint64_t seed = 1;     // of the network and its faults; the run's own seed stands in the run
  uint32_t threads = 1;  // for training, as in worker.yaml
  // Simulated time of one local step, by site (the last one for all further sites); empty: training takes next to none, but where the run
  // counts steps by time, kStepTime each.
  std::vector<absl::Duration> step_times;
  Weather weather = Weather::kFair;
  // Told of each commit.
  std::function<void(const v1::RoundRecord& record, uint64_t rounds)> progress;
  // Asked again and again: an error ends the simulation with it.
  std::function<absl::Status()> interrupted;
};

struct ResearchResult {
  v1::RunStatus status;
  v1::RunHistory history;
  Outcome outcome;
  std::string model;  // safetensors, as `tributary export` writes it
};

// Every site takes part: a `participation.min_workers` below their number is raised to it (as far as max_workers).
// InvalidArgument names the key; FailedPrecondition, exit code kMemory: federation and log do not fit into this machine's memory,
// or, exit code kData: the sites' tables have different columns; what the coordinator answers to a run that it does not take; errors of a
// site's trainer (exit code kData); Internal: an invariant was violated. A run that failed is not an error here: its status says so.
absl::StatusOr<ResearchResult> RunResearch(const ResearchOptions& options);

}  // namespace tributary::sim

#endif  // TRIBUTARY_SIM_RESEARCH_H_
