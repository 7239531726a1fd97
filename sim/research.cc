#include "sim/research.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/files.h"
#include "common/memory_need.h"
#include "common/names.h"
#include "common/status_macros.h"
#include "coordinator/run/memory_need.h"
#include "optim/encoder.h"
#include "optim/state_hash.h"
#include "optim/weights_file.h"
#include "proto/config/run_options.h"
#include "proto/config/yaml.h"
#include "worker/data/folder.h"
#include "worker/memory_need.h"
#include "worker/trainer.h"

namespace tributary::sim {
namespace {

// The first `count` sub-folders by name (0: all) are the sites.
absl::StatusOr<std::vector<std::string>> SitesIn(const std::string& folder, int count) {
  std::error_code error;
  std::vector<std::string> sites;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename();
    if (entry.is_directory() && !name.starts_with('.')) {
      sites.push_back(name);
    }
  }
  if (error) {
    return worker::DataError(absl::StrCat("cannot read ", folder, ": ", error.message(), "; name the sites' data with --data DIR"));
  }
  std::sort(sites.begin(), sites.end());
  if (sites.empty() || sites.size() < static_cast<size_t>(count)) {
    return worker::DataError(absl::StrCat(folder, " has ", sites.size(), " sub-folders, one for each site's data; ",
                                          count == 0 ? "at least one is needed" : absl::StrCat("--workers asks for ", count)));
  }
  if (count > 0) {
    sites.resize(count);
  }
  for (const std::string& site : sites) {
    if (!IsName(site)) {
      return worker::DataError(
          absl::StrCat(folder, "/", site, ": the folder's name is the site's: lower-case letters, digits and hyphens"));
    }
  }
  return sites;
}

// As the defaults of coordinator.yaml; a file of initial weights lies beside the run's.
v1::CoordinatorConfig ConfigOf(const std::string& run_file, const std::vector<std::string>& sites) {
  v1::CoordinatorConfig config;
  config.set_initial_weights_dir(FolderOf(run_file));
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
  for (const std::string& site : sites) {
    config.add_sites(site);
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
  need.terms.push_back({absl::StrCat(sites, " workers"), sites * worker.total()});
  need.terms.push_back(
      {absl::StrCat("the log of ", spec.rounds(), " rounds"), spec.rounds() * optim::MaxPayloadBytes(model.options, model.layout).commit});
  return CheckMemory(absl::StrCat("to simulate run ", spec.name(), " needs"), need, *room);
}

}  // namespace

absl::StatusOr<ResearchResult> RunResearch(const ResearchOptions& options) {
  Scenario scenario;
  scenario.seed = options.seed;
  v1::RunSpec& spec = scenario.runs.emplace_back();
  TRIBUTARY_RETURN_IF_ERROR(LoadYaml(options.run_file, &spec));
  TRIBUTARY_RETURN_IF_ERROR(Annotate(ValidateRunSpec(spec), options.run_file));
  const std::string folder =
      options.data_folder.empty() ? (std::filesystem::path(options.run_file).parent_path() / "data").string() : options.data_folder;
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<std::string> sites, SitesIn(folder, options.workers));
  TRIBUTARY_RETURN_IF_ERROR(Annotate(CheckMinWorkers(spec, static_cast<int>(sites.size())), options.run_file));
  // Sites do not come and go here: a run that began without those that are still reading would be another one than is asked about.
  v1::ParticipationSpec& participation = *spec.mutable_participation();
  participation.set_min_workers(std::max(participation.min_workers(), std::min<uint32_t>(participation.max_workers(), sites.size())));
  TRIBUTARY_RETURN_IF_ERROR(CheckRoom(spec, sites.size()));
  scenario.workers = static_cast<int>(sites.size());
  scenario.coordinator = ConfigOf(options.run_file, sites);
  for (const std::string& site : sites) {
    scenario.data_folders.push_back(absl::StrCat(folder, "/", site));
  }
  scenario.make_trainer = [&options, told = std::set<std::string>()](const worker::TrainerOptions& trainer,
                                                                     const optim::Layout& layout) mutable {
    absl::StatusOr<std::unique_ptr<worker::Trainer>> made = worker::Trainer::Create(trainer, layout);
    if (made.ok() && options.on_data && told.insert(trainer.site).second) {
      options.on_data(trainer.site, (*made)->data().text);
    }
    return made;
  };
  scenario.threads = options.threads;
  scenario.limit = absl::Hours(24 * 365 * 100);
  scenario.network.frame_bytes = 256 << 10;
  if (options.weather == Weather::kFair) {
    // So quick that nobody is ever late, whatever deadlines the run sets.
    scenario.network.min_latency = absl::Microseconds(10);
    scenario.network.max_latency = absl::Microseconds(20);
    scenario.training = absl::Microseconds(100);
  } else {
    AddLosslessFaults(scenario);
    scenario.faults_until = scenario.limit;
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
  TRIBUTARY_ASSIGN_OR_RETURN(
      result.model,
      optim::EncodeWeights(layout, run->state.theta, {run->journaled.run_id, run->round(), optim::StateHash(layout, run->state)}));
  return result;
}

}  // namespace tributary::sim
