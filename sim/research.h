// A run file in one process: the real model and data of every site, without a network in between.
#ifndef TRIBUTARY_SIM_RESEARCH_H_
#define TRIBUTARY_SIM_RESEARCH_H_

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "sim/simulation.h"
#include "tributary/v1/admin.pb.h"
#include "tributary/v1/run.pb.h"

namespace tributary::sim {

enum class Weather { kFair, kFaults };

struct ResearchOptions {
  std::string run_file;
  std::string data_folder;  // empty: `data` beside the run file
  int workers = 0;          // 0: every sub-folder of the data folder is a site
  uint64_t seed = 1;        // of the network and its faults; the run's own seed stands in the run file
  uint32_t threads = 1;     // for training, as in worker.yaml
  Weather weather = Weather::kFair;
  // Told once of each site's data, when it has been read: how much of it, and what was left out.
  std::function<void(const std::string& site, const std::string& data)> on_data;
  // Told of each commit.
  std::function<void(const v1::RoundRecord& record, uint64_t rounds)> progress;
};

struct ResearchResult {
  v1::RunStatus status;
  v1::RunHistory history;
  Outcome outcome;
  std::string model;  // safetensors, as `tributary export` writes it
};

// Every site takes part: a `participation.min_workers` below their number is raised to it (as far as max_workers).
// InvalidArgument names the key or folder; FailedPrecondition, exit code kMemory: federation and log do not fit into this machine's memory,
// or, exit code kData: the sites' tables have different columns; what the coordinator answers to a run that it does not take; errors of a
// site's trainer (exit code kData); Internal: an invariant was violated. A run that failed is not an error here: its status says so.
absl::StatusOr<ResearchResult> RunResearch(const ResearchOptions& options);

}  // namespace tributary::sim

#endif  // TRIBUTARY_SIM_RESEARCH_H_
