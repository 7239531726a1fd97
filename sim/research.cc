#include "sim/research.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/exit_codes.h"
#include "common/memory_need.h"
#include "common/status_macros.h"
#include "coordinator/run/memory_need.h"
#include "optim/encoder.h"
#include "optim/state_hash.h"
#include "optim/weights_file.h"
#include "proto/config/run_options.h"
#include "proto/config/weights_sections.h"
#include "worker/memory_need.h"

namespace tributary::sim {
namespace {

// As the defaults of coordinator.yaml.
v1::CoordinatorConfig ConfigOf(const ResearchOptions& options) {
  v1::CoordinatorConfig config;
  config.set_initial_weights_dir(options.initial_weights_dir);
  config.set_federation("sim");
  config.set_data_dir("disk");
  config.mutable_lease()->set_seconds(30);
  config.mutable_snapshots()->set_every(100);
  config.mutable_snapshots()->set_keep(2);
  config.mutable_snapshots()->set_log(uint64_t{256} << 20);
  config.mutable_snapshots()->mutable_replay()->set_seconds(10);
  // The log is in memory, and nobody comes back to a past state.
  config.mutable_log()->set_keep(v1::LogConfig::SINCE_SNAPSHOT);
  config.set_max_inline(256 << 10);
  config.set_max_update(uint64_t{4} << 30);
  config.mutable_drain_timeout()->set_seconds(20);
  config.add_operators("researcher");
  for (const ResearchSite& site : options.sites) {
    config.add_sites(site.name);
  }
  return config;
}

// The coordinator, the workers and the whole log are in this process.
absl::Status CheckRoom(const v1::RunSpec& spec, uint64_t sites) {
  const absl::StatusOr<MemoryLimits> room = ReadMemoryLimits();
  if (!room.ok()) {
    return absl::OkStatus();
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const coordinator::RunModel model, coordinator::RunModel::Of(spec));
  const MemoryNeed worker = worker::MemoryToTrain(model.model, model.options, model.layout, spec.data().batch_size(),
                                                  spec.pipeline() != 0 ? worker::Pipelining::kOn : worker::Pipelining::kOff);
  MemoryNeed need = coordinator::MemoryForRounds(model, sites, coordinator::LongUpdates::kInMemory);
  const uint64_t most = std::numeric_limits<uint64_t>::max();
  need.terms.push_back({absl::StrCat(sites, " workers"), sites > most / worker.total() ? most : sites * worker.total()});
  need.terms.push_back(
      {absl::StrCat("the log of ", spec.rounds(), " rounds"), spec.rounds() * optim::MaxPayloadBytes(model.options, model.layout).commit});
  return CheckMemory(absl::StrCat("to simulate run ", spec.name(), " needs"), need, *room);
}

}  // namespace

absl::StatusOr<ResearchResult> RunResearch(const ResearchOptions& options) {
  Scenario scenario;
  scenario.seed = options.seed;
  v1::RunSpec& spec = scenario.runs.emplace_back(options.run);
  TRIBUTARY_RETURN_IF_ERROR(Annotate(ValidateRunSpec(spec), options.run_name));
  TRIBUTARY_RETURN_IF_ERROR(Annotate(CheckMinWorkers(spec, static_cast<int>(options.sites.size())), options.run_name));
  if (!options.step_times.empty() && spec.pipeline() != 0) {
    return WithExitCode(absl::InvalidArgumentError("--step-time: not with pipeline: 1, whose computing ahead takes no simulated time"),
                        ExitCode::kUsage);
  }
  // Sites do not come and go here: a run that began without those that are still reading would be another one than is asked about.
  v1::ParticipationSpec& participation = *spec.mutable_participation();
  participation.set_min_workers(
      std::max(participation.min_workers(), std::min<uint32_t>(participation.max_workers(), options.sites.size())));
  TRIBUTARY_RETURN_IF_ERROR(CheckRoom(spec, options.sites.size()));
  scenario.workers = static_cast<int>(options.sites.size());
  scenario.coordinator = ConfigOf(options);
  for (const ResearchSite& site : options.sites) {
    scenario.data_folders.push_back(site.data);
  }
  scenario.make_trainer = options.make_trainer;
  scenario.interrupted = options.interrupted;
  scenario.threads = options.threads;
  scenario.limit = absl::Hours(24 * 365 * 100);
  scenario.network.frame_bytes = 256 << 10;
  if (options.weather == Weather::kFair) {
    // A run may fail by what its sites do.
    scenario.kind = Scenario::Kind::kAnything;
    // So quick that nobody is ever late, whatever deadlines the run sets.
    scenario.network.min_latency = absl::Microseconds(10);
    scenario.network.max_latency = absl::Microseconds(20);
    scenario.training = absl::Microseconds(100);
  } else {
    AddLosslessFaults(scenario);
    scenario.faults_until = scenario.limit;
  }
  scenario.step_times = options.step_times;
  if (scenario.step_times.empty() && spec.optimizer().has_local_time()) {
    scenario.step_times.push_back(kStepTime);
  }
  if (!scenario.step_times.empty()) {
    scenario.step_times.resize(options.sites.size(), scenario.step_times.back());
  }
  if (options.progress) {
    scenario.on_commit = [&](const v1::RoundRecord& record) { options.progress(record, scenario.runs[0].rounds()); };
  }

  ResearchResult result;
  Simulation simulation(scenario);
  result.outcome = simulation.Run();
  TRIBUTARY_RETURN_IF_ERROR(result.outcome.error);
  if (result.outcome.violation.has_value()) {
    return absl::InternalError(absl::StrCat("after event ", result.outcome.violation->event, ", ", result.outcome.violation->invariant,
                                            ": ", result.outcome.violation->detail));
  }
  result.status = result.outcome.status;
  result.history = result.outcome.history;
  const WitnessedRun* const run = simulation.witness().Find(result.status.run_id());
  if (run == nullptr) {
    return absl::InternalError("the run was not submitted");
  }
  const optim::Layout& layout = run->model->layout;
  TRIBUTARY_ASSIGN_OR_RETURN(result.model, optim::EncodeWeights(layout, run->state.theta,
                                                                {run->journaled.run_id, run->round(), optim::StateHash(layout, run->state),
                                                                 WeightsSectionsOf(run->journaled.spec)}));
  return result;
}

}  // namespace tributary::sim
