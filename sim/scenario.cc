#include "sim/scenario.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "optim/modes.h"
#include "proto/config/yaml.h"
#include "proto/durations.h"

namespace tributary::sim {
namespace {

// Who must take part in a round, and how long is waited for them.
enum class Patience { kAll, kMost, kSome };
std::string ParticipationOf(Patience patience, int workers) {
  switch (patience) {
    case Patience::kAll:
      return absl::StrCat("min_workers: ", workers, ", quorum: 1, min_deadline: 2s, max_deadline: 20s, wait_timeout: 20m");
    case Patience::kMost:
      return absl::StrCat("min_workers: ", std::max(1, workers * 3 / 4),
                          ", quorum: 0.9, min_deadline: 1s, max_deadline: 5s, wait_timeout: 15s");
    case Patience::kSome:
      break;
  }
  return absl::StrCat("min_workers: ", std::max(1, workers / 3), ", quorum: 0.5, min_deadline: 1s, max_deadline: 10s, wait_timeout: 5m");
}

// What a run asks of its optimiser.
struct Recipe {
  optim::Mode mode = optim::Mode::kDistro;
  bool pipeline = false;
  bool weighs = false;   // the mean by sample counts
  bool budgets = false;  // bytes a step instead of k and local steps
  bool agrees = false;   // Aggregation::kAgreement
  bool timed = false;    // as many local steps as fit into a time

  auto operator<=>(const Recipe&) const = default;
};

// Every mode, and four times the one that most runs have.
constexpr optim::Mode kDrawnModes[] = {optim::Mode::kDistro,    optim::Mode::kDistro, optim::Mode::kDistro, optim::Mode::kDistro,
                                       optim::Mode::kLocal,     optim::Mode::kDemo,   optim::Mode::kDiLoCo, optim::Mode::kFedAvg,
                                       optim::Mode::kAllReduce, optim::Mode::kSignSgd};

Recipe RecipeOf(Random& random) {
  Recipe recipe;
  recipe.mode = kDrawnModes[random.Below(std::size(kDrawnModes))];
  const optim::ModeTraits& mode = optim::TraitsOf(recipe.mode);
  recipe.pipeline = random.Chance(0.2);
  recipe.weighs = random.Chance(0.25) && mode.keys.Has(optim::Key::kWeighting);
  recipe.budgets = random.Chance(0.2) && mode.budget != optim::BudgetChoice::kNothing;
  recipe.timed = random.Chance(0.3) && mode.keys.Has(optim::Key::kLocalSteps) && !recipe.budgets;
  recipe.agrees = random.Chance(0.25) && (recipe.mode == optim::Mode::kDistro || recipe.mode == optim::Mode::kSignSgd);
  return recipe;
}

std::string OptimizerOf(const Recipe& recipe) {
  const optim::ModeTraits& mode = optim::TraitsOf(recipe.mode);
  const bool sparse = mode.family == optim::Family::kLevels;
  std::string optimizer = absl::StrCat("mode: ", mode.name, ", learning_rate: {peak: 0.01}");
  if (recipe.budgets) {
    absl::StrAppend(&optimizer, ", budget: ", sparse ? "60B" : "300B");
  } else {
    absl::StrAppend(&optimizer, sparse ? ", k: 256" : "",
                    recipe.timed                             ? ", local_steps: auto, local_time: 1s"
                    : mode.keys.Has(optim::Key::kLocalSteps) ? ", local_steps: 2"
                                                             : "");
  }
  // Betas whose steps have no bound: SyntheticTrainer's directions are no optimiser's, and the median alone is to bound them.
  return absl::StrCat(optimizer, ", adam_beta2: 0.5", recipe.weighs ? ", weighting: samples" : "",
                      recipe.agrees ? ", aggregation: agreement" : "");
}

// Written once and given a name, a seed and a length: parsing takes longer than a simulated round.
v1::RunSpec SpecOf(const Recipe& recipe, Patience patience, int workers) {
  static auto& parsed = *new std::map<std::tuple<Recipe, Patience, int>, v1::RunSpec>;
  const auto [it, added] = parsed.try_emplace({recipe, patience, workers});
  if (added) {
    const absl::Status status =
        ParseYaml(absl::StrCat("name: toy\nrounds: 50\nmodel: {mlp: {inputs: 8, hidden: [16], outputs: 4}}\n"
                               "data: {kind: csv, label_column: label}\npipeline: ",
                               recipe.pipeline ? 1 : 0, "\noptimizer: {", OptimizerOf(recipe),
                               "}\nevaluation: {every: 10}\nparticipation: {", ParticipationOf(patience, workers), "}\n"),
                  "run.yaml", &it->second);
    if (!status.ok()) {
      std::fprintf(stderr, "%s\n", status.ToString().c_str());
      std::abort();
    }
  }
  return it->second;
}

v1::CoordinatorConfig ConfigOf(int workers, Random& random) {
  v1::CoordinatorConfig config;
  config.set_federation("sim");
  config.set_data_dir("disk");
  config.mutable_lease()->set_seconds(6);
  config.mutable_snapshots()->set_every(1 + random.Below(20));
  config.mutable_snapshots()->set_keep(1 + static_cast<uint32_t>(random.Below(2)));
  config.mutable_snapshots()->set_log(uint64_t{256} << 20);
  config.mutable_snapshots()->mutable_replay()->set_seconds(10);
  // Sometimes so little that updates and commits travel as transfers.
  config.set_max_inline(random.Chance(0.3) ? 64 : 262144);
  config.set_max_update(uint64_t{1} << 30);
  config.mutable_drain_timeout()->set_seconds(10);
  config.add_operators("alice");
  for (int i = 0; i < workers; ++i) {
    config.add_sites(absl::StrCat("site-", i));
  }
  return config;
}

// A run of every other site, from `first` on.
v1::RunSpec HalfOf(const Recipe& recipe, Patience patience, int workers, int first) {
  v1::RunSpec spec = SpecOf(recipe, patience, (workers + 1 - first) / 2);
  for (int site = first; site < workers; site += 2) {
    spec.mutable_participation()->add_sites(absl::StrCat("site-", site));
  }
  return spec;
}

// The run has fewer rounds at first. If the model is to be that of a run that had them all, it is extended while it goes on: sites keep
// nothing of a run that has finished.
void DrawExtension(Scenario& scenario, Random& random) {
  v1::RunSpec& spec = scenario.runs[0];
  const bool lossless = scenario.kind != Scenario::Kind::kAnything;
  scenario.submitted_rounds = lossless ? spec.rounds() - spec.rounds() / 4 : 1 + random.Below(spec.rounds() - 1);
  scenario.extended_after = random.Between(absl::ZeroDuration(), lossless ? absl::Seconds(3) : absl::Seconds(90));
  spec.mutable_optimizer()->mutable_learning_rate()->set_rounds(scenario.submitted_rounds);
}

// What decides about snapshots besides the number of rounds, and what sites may say of their line and their day.
void DrawPolicies(Scenario& scenario, Random& random) {
  v1::SnapshotConfig& snapshots = *scenario.coordinator.mutable_snapshots();
  const double policy = random.Uniform();
  if (policy < 0.2) {
    snapshots.set_every(1000);
    snapshots.set_log(uint64_t{64} << random.Below(9));
  } else if (policy < 0.4) {
    snapshots.set_every(1000);
    scenario.tick = absl::Microseconds(200);
    // A round looks about twenty times where replay is counted.
    *snapshots.mutable_replay() = ProtoDurationOf(scenario.tick * (1 + random.Below(200)));
  }
  const bool quiet = random.Chance(0.15);
  const bool narrow = random.Chance(0.15);
  for (int i = 0; i < scenario.workers; ++i) {
    // The simulation begins at midnight, and a run takes a minute or two.
    const uint64_t minute = random.Below(4);
    scenario.quiet_hours.push_back(quiet && random.Chance(0.3) ? absl::StrFormat("00:%02d-00:%02d", minute, minute + 1) : "");
    scenario.bandwidth_up.push_back(narrow && random.Chance(0.5) ? uint64_t{16} << random.Below(6) : 0);
  }
}

}  // namespace

Scenario ScenarioOf(uint64_t seed, uint64_t rounds, int workers) {
  Random random(seed * 0x2545f4914f6cdd1d + 1);
  Scenario scenario;
  scenario.seed = seed;
  scenario.workers = workers;
  scenario.coordinator = ConfigOf(workers, random);
  if (seed % 2 == 0) {
    v1::LogConfig& log = *scenario.coordinator.mutable_log();
    log.set_keep(v1::LogConfig::SINCE_SNAPSHOT);
    log.set_rounds(seed % 4 == 0 ? seed % 32 : 0);
  }
  scenario.network.frame_bytes = 64 << random.Below(5);
  const double dice = random.Uniform();
  scenario.kind = dice < 0.05   ? Scenario::Kind::kQuiet
                  : dice < 0.4  ? Scenario::Kind::kLossless
                  : dice < 0.45 ? Scenario::Kind::kTakenBack
                                : Scenario::Kind::kAnything;
  const bool lossless = scenario.kind != Scenario::Kind::kAnything;
  const Recipe recipe = RecipeOf(random);
  const Patience patience = lossless ? Patience::kAll : random.Chance(0.25) ? Patience::kMost : Patience::kSome;
  const bool halves = workers > 1 && random.Chance(0.2);
  v1::RunSpec spec = halves ? HalfOf(recipe, patience, workers, 0) : SpecOf(recipe, patience, workers);
  spec.set_rounds(rounds);
  // Of lossless scenarios few different runs, so that what they must end with is found once.
  spec.set_seed(lossless ? 1 : seed);
  scenario.runs.push_back(spec);
  if (recipe.timed) {
    for (int i = 0; i < workers; ++i) {
      scenario.step_times.push_back(absl::Milliseconds(60 + 120 * i / workers));
    }
  }
  if (halves) {
    v1::RunSpec other = HalfOf(recipe, patience, workers, 1);
    other.set_name("beside");
    other.set_rounds(rounds);
    other.set_seed(spec.seed());
    scenario.runs.push_back(other);
  }
  if (rounds >= 8 && random.Chance(0.15)) {
    DrawExtension(scenario, random);
  }
  scenario.limit = absl::Minutes(10) + static_cast<double>(rounds) * absl::Seconds(20);
  if (scenario.kind == Scenario::Kind::kQuiet) {
    return scenario;
  }

  AddLosslessFaults(scenario);
  DrawPolicies(scenario, random);
  scenario.faults_until = absl::Seconds(30 + random.Below(60));
  // From one in ten seconds to several a second.
  scenario.fault_interval = absl::Seconds(10) * std::pow(0.03, random.Uniform());
  if (random.Chance(0.3)) {
    scenario.network.max_latency = absl::Milliseconds(600);
  }
  if (random.Chance(0.5)) {
    scenario.network.breaks = 0.005 * random.Uniform();
    scenario.network.corrupts = 0.002 * random.Uniform();
    scenario.network.stalls = 0.01 * random.Uniform();
    scenario.network.repeats_uploads = 0.05;
  }

  if (scenario.kind == Scenario::Kind::kTakenBack) {
    scenario.faults.insert(scenario.faults.end(), 3, Fault::kTakeBack);
  }
  if (lossless) {
    return scenario;
  }
  // Copies of a site's state every round, every few rounds, or hardly ever.
  scenario.persist = v1::SPARINGLY;
  scenario.disk_write_time = absl::Milliseconds(200) * static_cast<int64_t>(seed % 4 * (seed % 4));
  scenario.max_logged_payload = seed % 3 == 0 ? 0 : worker::kMaxLoggedPayload;
  scenario.faults.insert(scenario.faults.end(), {Fault::kWorkerDiskLoss, Fault::kBitFlip, Fault::kWorkerStop});
  if (random.Chance(0.05)) {
    scenario.faults.push_back(Fault::kStopRun);
  }
  if (random.Chance(0.1)) {
    scenario.faults.push_back(Fault::kTakeBack);
  }
  if (random.Chance(0.15)) {
    scenario.hostile_site = static_cast<int>(random.Below(workers));
  }
  if (random.Chance(0.15)) {
    spec.set_name("second");
    spec.set_rounds(1 + rounds / 10);
    scenario.runs.push_back(spec);
    scenario.limit += absl::Minutes(10);
  }
  return scenario;
}

void AddLosslessFaults(Scenario& scenario) {
  scenario.faults = {Fault::kCoordinatorKill, Fault::kCoordinatorPowerLoss,
                     Fault::kDiskDeath,       Fault::kDiskDeath,
                     Fault::kDiskFull,        Fault::kDiskFailure,
                     Fault::kDrain,           Fault::kClockJump,
                     Fault::kBrokenSession,   Fault::kPartition,
                     Fault::kFreeze,          Fault::kPauseRun,
                     Fault::kWorkerKill,      Fault::kWorkerPowerLoss,
                     Fault::kWorkerDiskDeath, Fault::kWorkerDiskTrouble};
}

Scenario QuietOf(const Scenario& scenario) {
  Scenario quiet;
  Random random(1);
  quiet.coordinator = ConfigOf(scenario.workers, random);
  quiet.workers = scenario.workers;
  quiet.runs = scenario.runs;
  quiet.step_times = scenario.step_times;
  return quiet;
}

}  // namespace tributary::sim
