#include "sim/simulation.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "coordinator/journal/open_journal.h"
#include "proto/config/run_options.h"
#include "sim/synthetic_trainer.h"

namespace tributary::sim {
namespace {

constexpr uint64_t kEventsBetweenStatusChecks = 512;
// After the last run is over: sites are told, and what they do then is watched.
constexpr absl::Duration kAftermath = absl::Seconds(5);

std::string UniqueVfsName() {
  static std::atomic<uint64_t> made = 0;
  return absl::StrFormat("sim-%d", ++made);
}

}  // namespace

Simulation::Simulation(const Scenario& scenario)
    : scenario_(scenario),
      world_(scenario.seed),
      witness_(&world_),
      disk_(&world_, UniqueVfsName()),
      coordinator_(&world_, &disk_, &witness_, scenario.coordinator, scenario.tick),
      network_(&world_, &coordinator_) {
  sqlite3_test_control(SQLITE_TESTCTRL_PRNG_SEED, static_cast<int>(scenario.seed % 0x7fffffff) + 1, nullptr);
  network_.conditions = scenario.network;
  witness_.on_commit = scenario.on_commit;
  witness_.snapshots = scenario.coordinator.snapshots();
  witness_.initial_weights_dir = scenario.coordinator.initial_weights_dir();
  witness_.tick = scenario.tick;
  witness_.keeps_past = std::find(scenario.faults.begin(), scenario.faults.end(), Fault::kTakeBack) != scenario.faults.end();
  coordinator_.on_end = [this] { network_.CoordinatorDied(std::exchange(coordinator_death_, Death::kNoticed)); };
  for (int i = 0; i < scenario.workers; ++i) {
    mischief_.push_back(std::make_unique<Mischief>());
    mischief_.back()->hostile = i == scenario.hostile_site;
    SimWorkerOptions options;
    options.number = i;
    options.config.set_site(scenario.coordinator.sites(i));
    options.config.set_coordinator("coordinator:8443");
    options.config.set_threads(scenario.threads);
    options.config.set_persist(scenario.persist);
    options.disk_write_time = scenario.disk_write_time;
    options.max_logged_payload = scenario.max_logged_payload;
    if (!scenario.data_folders.empty()) {
      options.config.set_data(scenario.data_folders[i]);
    }
    if (static_cast<size_t>(i) < scenario.quiet_hours.size() && !scenario.quiet_hours[i].empty()) {
      options.config.add_quiet_hours(scenario.quiet_hours[i]);
    }
    if (static_cast<size_t>(i) < scenario.bandwidth_up.size()) {
      options.config.mutable_bandwidth()->set_up(scenario.bandwidth_up[i]);
    }
    v1::ConsentConfig& consent = *options.config.mutable_consent();
    consent.add_runs(std::string(1, '*'));
    for (const std::string& kind : ModelKinds()) {
      consent.add_models(kind);
    }
    consent.set_max_local_steps(1000000);
    consent.set_max_rounds(100000000);
    consent.set_max_parameters(uint64_t{1} << 40);
    consent.set_max_batch_size(65536);
    consent.set_max_evaluation_batches(1000000);
    consent.set_allow_unclipped(true);
    consent.set_allow_small_gradients(true);
    consent.set_allow_initial_weights(true);
    if (scenario.make_trainer) {
      options.make_trainer = scenario.make_trainer;
      // What is wrong with real data does not pass by itself.
      options.on_misfit = [this](const absl::Status& status) { error_.Update(status); };
    } else {
      options.make_trainer = SyntheticTrainers(mischief_.back().get());
    }
    // Sites differ in speed, up to three times.
    options.training = scenario.training * (1 + 2.0 * i / scenario.workers) / 2;
    if (static_cast<size_t>(i) < scenario.step_times.size()) {
      options.step_time = scenario.step_times[i];
    }
    options.mischief = mischief_.back().get();
    workers_.push_back(std::make_unique<SimWorker>(&world_, &network_, &witness_, std::move(options)));
  }
}

Outcome Simulation::Run() {
  world_.After(absl::ZeroDuration(), "coordinator starts", -1, [this] { coordinator_.Start(); });
  world_.After(absl::Milliseconds(1), "submit", -1, [this] { Submit(); });
  for (const auto& worker : workers_) {
    world_.After(world_.random.Between(absl::ZeroDuration(), absl::Milliseconds(200)), "worker starts", 0, [&worker] { worker->Start(); });
  }
  if (!scenario_.faults.empty()) {
    ScheduleFault();
    world_.After(scenario_.faults_until, "faults end", -1, [this] { Heal(); });
  }
  for (const Incident& incident : scenario_.incidents) {
    world_.After(incident.at, "incident", incident.site, [this, &incident] {
      incident.kind == Incident::Kind::kBrokenSession ? network_.BreakSession(incident.site)
                                                      : workers_[incident.site]->Kill(absl::Milliseconds(100), SimDisk::Loss::kNothing);
    });
  }
  absl::Duration end = absl::InfiniteDuration();
  // The researcher wants the coordinator's account of the run.
  const auto accountable = [this] { return !scenario_.make_trainer || (coordinator_.up() && !disk_.dead()); };
  while (!world_.violation().has_value() && error_.ok() && (world_.Elapsed() < end || !accountable())) {
    if (!world_.Step()) {
      world_.Violate("every wait bounded", "nothing is ever going to happen again");
      break;
    }
    if (scenario_.interrupted) {
      error_.Update(scenario_.interrupted());
    }
    // Not over after all: a submission that proves to have been interrupted is submitted again.
    if (!submitted_ || !witness_.AllOver()) {
      end = absl::InfiniteDuration();
    } else if (end == absl::InfiniteDuration()) {
      end = world_.Elapsed() + kAftermath;
    }
    if (world_.Elapsed() > scenario_.limit && end == absl::InfiniteDuration()) {
      world_.Violate("the run ends", Standing());
    }
    if (world_.events() % kEventsBetweenStatusChecks == 0) {
      CheckStatus();
    }
  }
  Outcome outcome;
  Describe(outcome);
  if (!world_.violation().has_value() && error_.ok()) {
    CheckEnd();
  }

  outcome.error = error_;
  outcome.violation = world_.violation();
  outcome.trace_hash = world_.trace_hash();
  outcome.events = world_.events();
  outcome.commits = witness_.commits();
  outcome.simulated = world_.Elapsed();
  outcome.faults = world_.faults();
  for (const v1::RunSpec& spec : scenario_.runs) {
    for (const auto& [run_id, run] : witness_.runs()) {
      if (run.journaled.spec.name() == spec.name() && run.model != nullptr) {
        outcome.states.push_back(run.journaled.state);
        if (!Interrupted(run)) {
          outcome.hashes.push_back(run.hashes.back());
        }
      }
    }
  }
  return outcome;
}

void Simulation::Describe(Outcome& outcome) {
  if (!coordinator_.up() || disk_.dead()) {
    return;
  }
  const std::string& name = scenario_.runs[0].name();
  if (absl::StatusOr<v1::RunStatus> status = coordinator_.get()->GetRun(name); status.ok()) {
    outcome.status = *std::move(status);
  }
  if (absl::StatusOr<v1::RunHistory> history = coordinator_.get()->GetRunHistory(name); history.ok()) {
    outcome.history = *std::move(history);
  }
}

std::string Simulation::Standing() {
  if (!coordinator_.up()) {
    return "the coordinator is down";
  }
  std::string standing = "over time";
  const v1::ListRunsResponse list = coordinator_.get()->ListRuns();
  for (const v1::RunStatus& run : list.runs()) {
    absl::StrAppend(&standing, "; ", run.run_id(), " ", v1::RunState_Name(run.state()), " round ", run.round(), ": ", run.reason());
  }
  return standing;
}

SimWorker& Simulation::AnyWorker() {
  return *workers_[world_.random.Below(workers_.size())];
}

void Simulation::ScheduleFault() {
  const absl::Duration wait = scenario_.fault_interval * -std::log(1 - world_.random.Uniform());
  if (world_.Elapsed() + wait >= scenario_.faults_until) {
    return;
  }
  world_.After(wait, "fault", -1, [this] {
    Inject(scenario_.faults[world_.random.Below(scenario_.faults.size())]);
    ScheduleFault();
  });
}

// Everything that is not an event of its own passes.
void Simulation::Heal() {
  NetworkConditions& network = network_.conditions;
  network.breaks = network.corrupts = network.stalls = network.repeats_uploads = 0;
  disk_.SetTrouble(SimDisk::Trouble::kNone);
  for (const auto& worker : workers_) {
    worker->disk().SetTrouble(SimDisk::Trouble::kNone);
  }
}

void Simulation::Inject(Fault fault) {
  Random& random = world_.random;
  const absl::Duration pause = random.Between(absl::Milliseconds(100), absl::Seconds(5));
  const auto count = [this](const char* kind) {
    world_.CountFault(kind);
    if (world_.tracing) {
      world_.Trace(-1, absl::StrCat("FAULT ", kind));
    }
  };
  switch (fault) {
    case Fault::kCoordinatorKill:
      count("coordinator killed");
      return coordinator_.Kill(SimDisk::Loss::kNothing, pause);
    case Fault::kCoordinatorPowerLoss:
      count("coordinator lost power");
      coordinator_death_ = coordinator_.up() ? Death::kSilent : Death::kNoticed;
      return coordinator_.Kill(SimDisk::Loss::kUnsynced, pause);
    case Fault::kDiskDeath:
      count("died in a disk operation");
      return disk_.DieAfter(1 + random.Below(60));
    case Fault::kDiskFull:
    case Fault::kDiskFailure:
      count(fault == Fault::kDiskFull ? "disk full" : "disk failing");
      disk_.SetTrouble(fault == Fault::kDiskFull ? SimDisk::Trouble::kFull : SimDisk::Trouble::kFailing);
      return world_.After(pause, "disk is well", -1, [this] { disk_.SetTrouble(SimDisk::Trouble::kNone); });
    case Fault::kDrain:
      count("coordinator drained");
      return coordinator_.Drain(pause);
    case Fault::kClockJump:
      count("wall clock jumped");
      return world_.JumpWallClock(random.Between(absl::Hours(-48), absl::Hours(48)));
    case Fault::kBrokenSession:
      count("broken sessions");
      return network_.BreakSession(static_cast<int>(random.Below(network_.sites())));
    case Fault::kPartition: {
      count("partitions");
      // One site, or many at once.
      const bool many = random.Chance(0.2);
      for (int site = 0; site < network_.sites(); ++site) {
        if (random.Chance(many ? 0.6 : 1.0 / network_.sites())) {
          network_.Partition(site, random.Between(absl::Milliseconds(500), absl::Seconds(15)));
        }
      }
      return;
    }
    case Fault::kFreeze:
      count("workers frozen");
      return AnyWorker().Freeze(random.Between(absl::Milliseconds(500), absl::Seconds(15)));
    case Fault::kWorkerKill:
      count("workers killed");
      return AnyWorker().Kill(pause, SimDisk::Loss::kNothing);
    case Fault::kWorkerPowerLoss:
      count("workers lost power");
      return AnyWorker().Kill(pause, SimDisk::Loss::kUnsynced);
    case Fault::kWorkerDiskDeath:
      count("workers died in a disk operation");
      return AnyWorker().disk().DieAfter(1 + random.Below(4));
    case Fault::kWorkerDiskTrouble: {
      count("workers' disks in trouble");
      SimDisk& disk = AnyWorker().disk();
      disk.SetTrouble(random.Chance(0.5) ? SimDisk::Trouble::kFull : SimDisk::Trouble::kFailing);
      return world_.After(pause, "disk is well", 0, [&disk] { disk.SetTrouble(SimDisk::Trouble::kNone); });
    }
    case Fault::kWorkerDiskLoss: {
      count("workers lost their disk");
      SimWorker& worker = AnyWorker();
      worker.Kill(pause, SimDisk::Loss::kUnsynced);
      return worker.disk().Wipe();
    }
    case Fault::kBitFlip:
      count("bits flipped");
      mischief_[random.Below(mischief_.size())]->flip_bit = true;
      return;
    case Fault::kWorkerStop:
      count("workers stopped");
      return AnyWorker().RequestStop();
    case Fault::kPauseRun:
    case Fault::kStopRun:
      for (const auto& [run_id, run] : witness_.runs()) {
        if (run.over() || !coordinator_.up() || disk_.dead()) {
          continue;
        }
        if (fault == Fault::kStopRun) {
          count("runs stopped");
          return coordinator_.Call([&](coordinator::Coordinator& coordinator) {
            coordinator.StopRun(run_id, {"anna", "a whim"}).IgnoreError();  // a whim is not insisted on
          });
        }
        count("runs paused");
        world_.After(pause, "resume", -1, [this, run_id = run_id] { Resume(run_id); });
        return coordinator_.Call([&](coordinator::Coordinator& coordinator) {
          coordinator.PauseRun(run_id, {"anna", "a whim"}).IgnoreError();  // as above
        });
      }
      return;
    case Fault::kTakeBack:
      return TakeLogBack(pause);
  }
}

void Simulation::CheckStatus() {
  if (!coordinator_.up() || disk_.dead()) {
    return;
  }
  for (const auto& [run_id, run] : witness_.runs()) {
    if (run.broken || run.over()) {
      continue;
    }
    const absl::StatusOr<v1::RunStatus> status = coordinator_.get()->GetRun(run_id);
    if (!status.ok()) {
      continue;  // half submitted
    }
    if (status->reason().empty() && status->state() != v1::SUBMITTED) {
      world_.Violate("every wait has a reason", absl::StrCat(run_id, " is ", v1::RunState_Name(status->state())));
    }
    if (status->state() != v1::SUBMITTED && (status->round() != run.round() || status->state_hash() != run.hashes.back())) {
      world_.Violate("replicas with equal round have equal hash",
                     absl::StrCat(run_id, ": the coordinator stands at round ", status->round(), ", its journal at ", run.round()));
    }
  }
}

void Simulation::CheckEnd() {
  // The journal once more, as the next start would find it.
  Heal();
  if (coordinator_.up()) {
    coordinator_.Kill(SimDisk::Loss::kUnsynced, absl::ZeroDuration());
  } else {
    disk_.Restart(SimDisk::Loss::kUnsynced);  // whatever was still to befall it
  }
  const absl::StatusOr<std::unique_ptr<coordinator::Journal>> journal = coordinator::OpenSqliteJournal("journal.db", nullptr, disk_);
  if (!journal.ok()) {
    return world_.Violate("the journal survives", journal.status().ToString());
  }
  witness_.Compare(**journal);
  for (const auto& [run_id, run] : witness_.runs()) {
    const uint64_t pruned = (*journal)->PrunedThrough(run_id).value_or(0);
    uint64_t expected = 0;
    for (; expected < pruned; ++expected) {
      const absl::StatusOr<coordinator::JournaledCommit> commit = (*journal)->Commit(run_id, expected + 1);
      if (!commit.ok() || commit->included != run.included[expected]) {
        return world_.Violate("chain intact", absl::StrCat(run_id, ": the pruned commit ", expected + 1, " is another"));
      }
    }
    const absl::Status visited =
        (*journal)->VisitCommits(run_id, pruned + 1, run.round(), [&](uint64_t round, const coordinator::JournaledCommit& commit) {
          ++expected;
          return round == expected && commit.included == run.included[round - 1] ? absl::OkStatus() : absl::DataLossError("another commit");
        });
    if (!visited.ok() || expected != run.round()) {
      world_.Violate("chain intact", absl::StrCat(run_id, ": ", visited.ToString(), " at commit ", expected, " of ", run.round()));
    }
    if (scenario_.kind != Scenario::Kind::kAnything && Submitted(run.journaled.spec.name()) && run.round() > 0 &&
        run.journaled.state != v1::FINISHED) {
      world_.Violate("a run that loses nothing finishes",
                     absl::StrCat(run_id, " ", v1::RunState_Name(run.journaled.state), ": ", run.journaled.reason));
    }
  }
}

Outcome RunScenario(const Scenario& scenario, Tracing tracing) {
  Outcome outcome;
  {
    Simulation simulation(scenario);
    simulation.world().tracing = tracing == Tracing::kOn;
    outcome = simulation.Run();
  }
  if (scenario.kind != Scenario::Kind::kLossless || outcome.violation.has_value()) {
    return outcome;
  }
  static auto& quiet_hashes = *new std::map<std::string, std::vector<std::string>>;
  std::string key = absl::StrCat(scenario.workers);
  for (const v1::RunSpec& spec : scenario.runs) {
    absl::StrAppend(&key, "/", spec.SerializeAsString());
  }
  std::vector<std::string>& expected = quiet_hashes[key];
  if (expected.empty()) {
    const Outcome quiet = Simulation(QuietOf(scenario)).Run();
    if (quiet.violation.has_value()) {
      outcome.violation = quiet.violation;
      return outcome;
    }
    expected = quiet.hashes;
  }
  if (outcome.hashes != expected) {
    const auto told = [](const std::vector<std::string>& hashes) { return absl::BytesToHexString(absl::StrJoin(hashes, "")); };
    outcome.violation = Violation{"the same model as without faults",
                                  absl::StrCat("ended with ", told(outcome.hashes), ", without faults ", told(expected)), outcome.simulated,
                                  outcome.events};
  }
  return outcome;
}

}  // namespace tributary::sim
