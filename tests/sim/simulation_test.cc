// That the simulator repeats itself, that it finds what is wrong, and that it finds nothing else.
#include "sim/simulation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "common/exit_codes.h"
#include "common/log.h"
#include "coordinator/journal/forwarding_journal.h"
#include "coordinator/journal/journal_format.h"
#include "coordinator/journal/open_journal.h"
#include "coordinator/journal/upgrade_journal.h"
#include "proto/config/yaml.h"
#include "sim/chaos.h"
#include "sim/synthetic_trainer.h"
#include "worker/local_steps.h"
#include "worker/trainer.h"

namespace tributary::sim {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::ElementsAre;
using ::testing::Eq;
using ::testing::HasSubstr;

constexpr int kWorkers = 8;

class SimulationTest : public ::testing::Test {
 protected:
  SimulationTest() { SetLogLevel(LogLevel::kNone); }
  ~SimulationTest() override { SetLogLevel(LogLevel::kInfo); }
};

// The seeds from `first` on that meet faults of every kind, or of one that few meet.
Scenario FaultyScenario(uint64_t first, std::optional<Fault> with = std::nullopt) {
  while (true) {
    const Scenario scenario = ScenarioOf(first++, 20, kWorkers);
    if (scenario.kind == Scenario::Kind::kAnything && scenario.fault_interval < absl::Seconds(3) &&
        (!with.has_value() || absl::c_linear_search(scenario.faults, *with))) {
      return scenario;
    }
  }
}

TEST_F(SimulationTest, TheSameSeedDoesTheSame) {
  for (const uint64_t seed : {1, 2, 3, 4, 5, 6}) {
    const Scenario scenario = ScenarioOf(seed, 20, kWorkers);
    const Outcome first = Simulation(scenario).Run();
    const Outcome second = Simulation(scenario).Run();
    EXPECT_EQ(first.trace_hash, second.trace_hash) << "seed " << seed;
    EXPECT_EQ(first.events, second.events) << "seed " << seed;
    EXPECT_EQ(first.hashes, second.hashes) << "seed " << seed;
  }
}

TEST_F(SimulationTest, AnotherSeedDoesSomethingElse) {
  EXPECT_NE(Simulation(ScenarioOf(1, 5, kWorkers)).Run().trace_hash, Simulation(ScenarioOf(2, 5, kWorkers)).Run().trace_hash);
}

// A run file on real data, which this trainer stands for.
Scenario ResearchScenario(worker::TrainerFactory make_trainer) {
  Scenario scenario = QuietOf(ScenarioOf(1, 5, 2));
  scenario.data_folders = {"/data/a", "/data/b"};
  scenario.make_trainer = std::move(make_trainer);
  return scenario;
}

TEST_F(SimulationTest, ARunThatTheCoordinatorDoesNotTakeEndsTheSimulationWithItsAnswer) {
  Mischief none;
  Scenario scenario = ResearchScenario(SyntheticTrainers(&none));
  scenario.runs[0].mutable_model()->set_initial_weights("nowhere.safetensors");
  const Outcome outcome = Simulation(scenario).Run();
  EXPECT_EQ(ExitCodeOf(outcome.error), ExitCode::kUsage) << outcome.error;
  EXPECT_THAT(std::string(outcome.error.message()), AllOf(HasSubstr("model.initial_weights"), HasSubstr("nowhere.safetensors")));
  EXPECT_LT(outcome.simulated, absl::Seconds(1));
}

TEST_F(SimulationTest, ARunOfOursThatTheCoordinatorDoesNotTakeIsSeen) {
  Scenario scenario = ScenarioOf(1, 5, 2);
  scenario.runs[0].mutable_model()->set_initial_weights("nowhere.safetensors");
  const Outcome outcome = Simulation(scenario).Run();
  ASSERT_TRUE(outcome.violation.has_value());
  EXPECT_EQ(outcome.violation->invariant, "a run is taken");
}

TEST_F(SimulationTest, DataThatDoesNotFitTheRunEndsTheSimulation) {
  const absl::Status misfit = WithExitCode(absl::InvalidArgumentError("/data/a/t.csv:1: no column 'y'"), ExitCode::kData);
  const Outcome outcome = Simulation(ResearchScenario([&](const worker::TrainerOptions&, const optim::Layout&) { return misfit; })).Run();
  EXPECT_EQ(ExitCodeOf(outcome.error), ExitCode::kData) << outcome.error;
  EXPECT_THAT(std::string(outcome.error.message()), HasSubstr("/data/a/t.csv:1: no column 'y'"));
}

TEST_F(SimulationTest, FaultsEndNoSimulationOfARunFileAndTheCoordinatorDescribesTheRun) {
  Mischief none;
  for (const uint64_t seed : {1, 2, 3, 4, 5, 6, 7, 8}) {
    Scenario scenario = ResearchScenario(SyntheticTrainers(&none));
    scenario.seed = seed;
    scenario.runs[0].set_rounds(20);
    AddLosslessFaults(scenario);
    scenario.fault_interval = absl::Seconds(1);
    scenario.faults_until = scenario.limit = absl::Hours(24);
    const Outcome outcome = Simulation(scenario).Run();
    EXPECT_EQ(outcome.error, absl::OkStatus()) << "seed " << seed;
    EXPECT_FALSE(outcome.violation.has_value()) << "seed " << seed << ": " << outcome.violation->detail;
    EXPECT_EQ(outcome.status.state(), v1::FINISHED) << "seed " << seed;
  }
}

TEST_F(SimulationTest, ARunThatEndsEarlyEndsAtTheSameRoundHoweverOftenItIsKilled) {
  Mischief none;
  Scenario quiet = ResearchScenario(SyntheticTrainers(&none));
  quiet.runs[0].set_rounds(200);
  quiet.runs[0].mutable_evaluation()->set_every(2);
  quiet.runs[0].mutable_evaluation()->add_metrics("accuracy");
  quiet.runs[0].mutable_stop_when()->set_metric("accuracy");
  quiet.runs[0].mutable_stop_when()->set_patience(2);
  const v1::RunStatus expected = Simulation(quiet).Run().status;
  EXPECT_EQ(expected.state(), v1::FINISHED);
  EXPECT_THAT(expected.reason(), HasSubstr("accuracy has not improved on"));
  EXPECT_LT(expected.round(), 200u);
  for (const uint64_t seed : {1, 2, 3, 4, 5}) {
    Scenario faulty = quiet;
    faulty.seed = seed;
    AddLosslessFaults(faulty);
    faulty.fault_interval = absl::Seconds(2);
    faulty.faults_until = faulty.limit = absl::Hours(24);
    const Outcome outcome = Simulation(faulty).Run();
    EXPECT_FALSE(outcome.violation.has_value()) << "seed " << seed << ": " << outcome.violation->detail;
    EXPECT_EQ(outcome.status.round(), expected.round()) << "seed " << seed;
    EXPECT_EQ(outcome.status.state_hash(), expected.state_hash()) << "seed " << seed;
    EXPECT_EQ(outcome.status.best_round(), expected.best_round()) << "seed " << seed;
  }
}

TEST_F(SimulationTest, NoInvariantIsViolated) {
  ChaosOptions options;
  options.seeds = 300;
  options.jobs = 2;
  const absl::StatusOr<ChaosReport> report = RunChaos(options);
  ASSERT_TRUE(report.ok()) << report.status();
  for (const FailedSeed& failed : report->failed) {
    ADD_FAILURE() << failed.invariant << ": " << failed.detail << "\n  tributary-sim --chaos --seed " << failed.seed << " --trace";
  }
  EXPECT_EQ(report->seeds, 300);
  // Every kind of fault has been there.
  for (const char* const kind :
       {"bits flipped",           "broken sessions",  "broken transfers",  "coordinator drained", "coordinator killed",
        "coordinator lost power", "corrupted frames", "corrupted records", "delayed messages",    "died in a disk operation",
        "disk failing",           "disk full",        "hostile payloads",  "logs taken back",     "partitions",
        "quiet hours begun",      "repeated uploads", "runs paused",       "wall clock jumped",   "workers frozen",
        "workers killed",         "workers stopped"}) {
    EXPECT_TRUE(report->faults.contains(kind)) << kind;
  }
}

// What no fault shows: runs, and policies of coordinators and sites, differ from seed to seed.
TEST_F(SimulationTest, EveryKindOfRunAndPolicyIsDrawn) {
  std::map<std::string, int> drawn;
  constexpr int kSeeds = 300;
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    const Scenario scenario = ScenarioOf(seed, 20, kWorkers);
    const v1::RunSpec& spec = scenario.runs.at(0);
    const v1::OptimizerSpec& optimizer = spec.optimizer();
    const v1::SnapshotConfig& snapshots = scenario.coordinator.snapshots();
    ++drawn[absl::StrCat("mode ", v1::OptimizerSpec::Mode_Name(optimizer.mode()))];
    drawn["pipeline"] += spec.pipeline() == 1;
    drawn["pipelined local"] += spec.pipeline() == 1 && optimizer.mode() == v1::OptimizerSpec::LOCAL;
    drawn["weighting"] += optimizer.weighting() == v1::SAMPLES;
    drawn["budget"] += optimizer.budget() != 0;
    drawn["timed steps"] += optimizer.has_local_time();
    drawn["pipelined timed steps"] += spec.pipeline() == 1 && optimizer.has_local_time();
    drawn["snapshots.log"] += snapshots.log() <= 16384 && snapshots.every() >= 1000;
    drawn["snapshots.replay"] += snapshots.replay().seconds() == 0 && snapshots.every() >= 1000 && scenario.tick > absl::ZeroDuration();
    drawn["snapshots.every"] += snapshots.every() <= 20;
    drawn["log.keep"] += scenario.coordinator.log().keep() == v1::LogConfig::SINCE_SNAPSHOT;
    drawn["log.rounds"] += scenario.coordinator.log().rounds() > 0;
    drawn["quiet hours"] +=
        std::any_of(scenario.quiet_hours.begin(), scenario.quiet_hours.end(), [](auto& hours) { return !hours.empty(); });
    drawn["bandwidth"] += std::any_of(scenario.bandwidth_up.begin(), scenario.bandwidth_up.end(), [](uint64_t up) { return up != 0; });
    drawn["side by side"] += !spec.participation().sites().empty();
    drawn["extended"] += scenario.submitted_rounds > 0;
    drawn["truncate-to"] += std::count(scenario.faults.begin(), scenario.faults.end(), Fault::kTakeBack) > 0;
  }
  EXPECT_EQ(std::count_if(drawn.begin(), drawn.end(), [](const auto& kind) { return kind.first.starts_with("mode "); }), 7);
  for (const auto& [kind, seeds] : drawn) {
    EXPECT_GE(seeds, kind.starts_with("pipelined") ? 2 : kSeeds / 30) << kind;
  }
}

// Three sites take a local step in 20 ms, the fourth in 80 ms.
Scenario OneSlowSite(const std::string& steps) {
  Scenario scenario = QuietOf(ScenarioOf(1, 10, 4));
  v1::RunSpec& spec = scenario.runs[0];
  const absl::Status parsed = ParseYaml(
      "name: toy\nrounds: 10\nmodel: {mlp: {inputs: 8, hidden: [16], outputs: 4}}\n"
      "data: {kind: csv, label_column: label}\nparticipation: {min_workers: 4, quorum: 1}\n"
      "optimizer: {mode: fedavg, norm_bound: 0, learning_rate: {peak: 0.01}, " +
          steps + "}\n",
      "run.yaml", &spec);
  EXPECT_TRUE(parsed.ok()) << parsed;
  scenario.step_times = {absl::Milliseconds(20), absl::Milliseconds(20), absl::Milliseconds(20), absl::Milliseconds(80)};
  return scenario;
}

TEST_F(SimulationTest, ASlowSiteSlowsNobodyWhereSitesCountTheirSteps) {
  const Outcome fixed = Simulation(OneSlowSite("local_steps: 50")).Run();
  ASSERT_FALSE(fixed.violation.has_value()) << fixed.violation->detail;
  const Outcome timed = Simulation(OneSlowSite("local_steps: auto, local_time: 1s")).Run();
  ASSERT_FALSE(timed.violation.has_value()) << timed.violation->detail;
  ASSERT_EQ(timed.history.rounds_size(), 11);
  for (int i = 1; i <= 10; ++i) {
    EXPECT_GT(fixed.history.rounds(i).duration(), 4) << "50 steps of 80 ms";
    EXPECT_LT(timed.history.rounds(i).duration(), 1.5) << "1 s, whoever takes it";
    EXPECT_EQ(timed.history.rounds(i).included(), 4u);
    EXPECT_GT(timed.history.rounds(i).local_steps(), 25u);
  }
  EXPECT_EQ(timed.states, std::vector<v1::RunState>{v1::FINISHED});
}

// Plain gradient descent towards a point: 1 at site-3, 0 at the others.
class PulledTrainer final : public worker::Trainer {
 public:
  explicit PulledTrainer(const worker::TrainerOptions& options) : options_(options), point_(options.site == "site-3" ? 1 : 0) {}

  absl::StatusOr<worker::StepResult> ComputeDirection(const optim::RoundParameters& parameters, absl::Span<const float> theta,
                                                      absl::Span<float> direction) override {
    worker::LocalSteps steps(options_.optimizer, parameters, options_.most_local_steps, options_.clock);
    std::vector<float> local(theta.begin(), theta.end());
    while (steps.Next()) {
      for (float& value : local) {
        value -= 0.002f * (value - point_);
      }
    }
    for (size_t i = 0; i < theta.size(); ++i) {
      direction[i] = theta[i] - local[i];
    }
    return worker::StepResult{.train_loss = 1, .compute_seconds = 0, .local_steps = steps.taken()};
  }
  absl::StatusOr<worker::Evaluation> Evaluate(absl::Span<const float>) override { return worker::Evaluation{1, {}}; }

 private:
  const worker::TrainerOptions options_;
  const float point_;
};

// The mean of steps would be pulled to 1 by 12 of 162 of them.
TEST_F(SimulationTest, ASlowSitesDataCountAsMuchAsThoseOfTheOthers) {
  Scenario scenario = OneSlowSite("local_steps: auto, local_time: 1s");
  scenario.runs[0].set_rounds(60);
  scenario.make_trainer = [](const worker::TrainerOptions& options, const optim::Layout&) {
    return std::make_unique<PulledTrainer>(options);
  };
  Simulation simulation(scenario);
  const Outcome outcome = simulation.Run();
  ASSERT_FALSE(outcome.violation.has_value()) << outcome.violation->detail;
  EXPECT_EQ(outcome.history.rounds(60).local_steps(), 50u) << "the median of 50, 50, 50 and 12";
  for (const float value : simulation.witness().runs().begin()->second.state.theta) {
    ASSERT_NEAR(value, 0.25, 0.02);
  }
}

// Planted defects: each must be seen.

// What the first of some seeds says that the defect disturbs; nothing if none is disturbed.
std::string FirstViolation(const std::function<void(Simulation&)>& plant, std::optional<Fault> with = std::nullopt) {
  uint64_t seed = 1;
  for (int i = 0; i < 40; ++i) {
    const Scenario scenario = FaultyScenario(seed, with);
    seed = scenario.seed + 1;
    Simulation simulation(scenario);
    plant(simulation);
    const Outcome outcome = simulation.Run();
    if (outcome.violation.has_value()) {
      return outcome.violation->invariant;
    }
  }
  return "";
}

TEST_F(SimulationTest, ADiskThatLiesAboutSyncIsSeen) {
  EXPECT_THAT(FirstViolation([](Simulation& simulation) { simulation.disk().lies_about_sync = true; }),
              AnyOf(Eq("no acknowledged update lost"), Eq("no acknowledged write lost"), Eq("the journal survives"),
                    Eq("the coordinator starts again"), Eq("a log can be taken back")));
}

// Acknowledges every twentieth update and commit without writing it.
class ForgetfulJournal final : public coordinator::ForwardingJournal {
 public:
  ForgetfulJournal(std::unique_ptr<coordinator::Journal> journal, uint64_t* writes)
      : ForwardingJournal(std::move(journal)), writes_(writes) {}
  absl::Status AddUpdates(const std::string& run_id, uint64_t round, absl::Span<const coordinator::JournaledUpdate> updates) override {
    return ++*writes_ % 20 == 0 ? absl::OkStatus() : ForwardingJournal::AddUpdates(run_id, round, updates);
  }

 private:
  uint64_t* const writes_;
};

TEST_F(SimulationTest, AJournalThatForgetsUpdatesIsSeen) {
  uint64_t writes = 0;
  EXPECT_THAT(FirstViolation([&](Simulation& simulation) {
                simulation.coordinator().wrap_journal = [&writes](std::unique_ptr<coordinator::Journal> journal) {
                  return std::make_unique<ForgetfulJournal>(std::move(journal), &writes);
                };
              }),
              AnyOf(Eq("no acknowledged update lost"), Eq("the coordinator starts again")));
}

TEST_F(SimulationTest, AReceiptForWhatWasNotIncludedIsSeen) {
  EXPECT_EQ(FirstViolation([](Simulation& simulation) {
              simulation.network().tamper = [](v1::CoordinatorMessage& message) {
                if (message.has_receipt()) {
                  message.mutable_receipt()->set_result(v1::Receipt::INCLUDED);
                }
              };
            }),
            "a receipt tells the truth");
}

TEST_F(SimulationTest, AReceiptThatIsTakenBackIsSeen) {
  EXPECT_EQ(FirstViolation([](Simulation& simulation) {
              simulation.network().tamper = [count = 0](v1::CoordinatorMessage& message) mutable {
                if (message.has_receipt() && ++count % 50 == 0) {
                  message.mutable_receipt()->set_result(v1::Receipt::LATE);
                }
              };
            }),
            "none applied twice");
}

TEST_F(SimulationTest, ALogTakenBackToAnotherRoundIsSeen) {
  EXPECT_THAT(FirstViolation(
                  [](Simulation& simulation) {
                    simulation.take_back = [](SimDisk& disk, const std::string& run_id, uint64_t round) {
                      return TakeBack(disk, run_id, round == 0 ? 0 : round - 1);
                    };
                  },
                  Fault::kTakeBack),
              "no acknowledged write lost");
}

TEST_F(SimulationTest, AResidualThatIsNotTheOneOfThatRoundIsSeen) {
  EXPECT_THAT(FirstViolation(
                  [](Simulation& simulation) {
                    simulation.take_back = [](SimDisk& disk, const std::string& run_id, uint64_t round) {
                      absl::StatusOr<coordinator::Truncation> done = TakeBack(disk, run_id, round);
                      if (done.ok()) {
                        done->residual_known = !done->residual_known;
                      }
                      return done;
                    };
                  },
                  Fault::kTakeBack),
              "none applied twice");
}

// The coordinator heeds another policy than the one that it should.
TEST_F(SimulationTest, ASnapshotThatIsOverdueIsSeen) {
  const char* const kSeen = "replay is bounded";
  EXPECT_EQ(FirstViolation([](Simulation& simulation) { simulation.witness().snapshots.set_every(1); }), kSeen);
  EXPECT_EQ(FirstViolation([](Simulation& simulation) { simulation.witness().snapshots.set_log(1); }), kSeen);
  EXPECT_EQ(FirstViolation([](Simulation& simulation) {
              simulation.witness().snapshots.mutable_replay()->set_seconds(0);
              simulation.witness().snapshots.mutable_replay()->set_nanos(1);
            }),
            kSeen);
}

v1::RunSpec AnySpec() {
  return ScenarioOf(1, 1, 1).runs.at(0);
}

// What a start has read may be told; so a loss of power after it must not take it back.
TEST_F(SimulationTest, WhatAStartHasReadSurvivesALossOfPower) {
  int read_unacknowledged = 0;
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    World world(seed);
    SimDisk disk(&world, "disk-under-test");
    coordinator::JournaledRun run;
    run.run_id = "toy-1";
    run.spec = AnySpec();
    bool acknowledged = false;
    {
      auto journal = coordinator::OpenSqliteJournal("journal.db", nullptr, disk);
      ASSERT_TRUE(journal.ok()) << journal.status();
      disk.DieAfter(1 + world.random.Below(6));
      acknowledged = (*journal)->AddRun(run).ok();
      disk.Die();
    }
    disk.Restart(SimDisk::Loss::kNothing);
    size_t read = 0;
    {
      auto journal = coordinator::OpenSqliteJournal("journal.db", nullptr, disk);
      ASSERT_TRUE(journal.ok()) << "seed " << seed << ": " << journal.status();
      read = (*journal)->Runs()->size();
      disk.Die();
    }
    EXPECT_TRUE(read == 1 || !acknowledged) << "seed " << seed;
    read_unacknowledged += read == 1 && !acknowledged ? 1 : 0;
    disk.Restart(SimDisk::Loss::kUnsynced);
    auto journal = coordinator::OpenSqliteJournal("journal.db", nullptr, disk);
    ASSERT_TRUE(journal.ok()) << "seed " << seed << ": " << journal.status();
    EXPECT_EQ((*journal)->Runs()->size(), read) << "seed " << seed;
  }
  EXPECT_GT(read_unacknowledged, 0);
}

// Killed, or with the power lost, in the middle of any change to the disk, it leaves the old journal or the new one.
TEST_F(SimulationTest, AnUpgradeOfTheJournalIsDoneOrNotAtWhateverMomentItDies) {
  coordinator::JournaledRun run;
  run.run_id = "toy-1";
  run.spec = AnySpec();
  std::set<int64_t> left;
  bool died = true;
  for (uint64_t changes = 1; died; ++changes) {
    for (const SimDisk::Loss loss : {SimDisk::Loss::kNothing, SimDisk::Loss::kUnsynced}) {
      SCOPED_TRACE(absl::StrCat("change ", changes));
      World world(changes);
      SimDisk disk(&world, "disk-under-test");
      ASSERT_TRUE(coordinator::CreateJournal("journal.db", coordinator::kOldestFormat, disk).ok());
      {
        auto journal = coordinator::OpenSqliteJournal("journal.db", nullptr, disk);
        ASSERT_TRUE(journal.ok()) << journal.status();
        ASSERT_TRUE((*journal)->AddRun(run).ok());
        (*journal)->NoteEvent("toy-1", {1, "", "paused", 4, "maintenance", "ada"});
        ASSERT_TRUE((*journal)->Flush().ok());
        // The newest rows are in the write-ahead log alone.
        disk.Die();
      }
      disk.Restart(SimDisk::Loss::kNothing);
      const auto begin = [](coordinator::FormatChange) { return absl::OkStatus(); };
      const auto keep = [](coordinator::Journal&, coordinator::FormatChange) { return absl::OkStatus(); };
      disk.DieAfter(changes);
      const absl::StatusOr<coordinator::FormatChange> upgraded = coordinator::UpgradeSqliteJournal("journal.db", begin, keep, disk);
      died = disk.dead();
      EXPECT_NE(upgraded.ok(), died) << upgraded.status();
      disk.Die();
      disk.Restart(loss);
      {
        auto journal = coordinator::OpenSqliteJournal("journal.db", nullptr, disk);
        ASSERT_TRUE(journal.ok()) << journal.status();
        EXPECT_EQ((*journal)->Runs()->size(), 1u);
        const std::vector<coordinator::JournaledEvent> events = *(*journal)->Events("toy-1");
        ASSERT_EQ(events.size(), 1u);
        EXPECT_EQ(events[0].detail, "by ada: maintenance");
      }
      const absl::StatusOr<coordinator::FormatChange> again = coordinator::UpgradeSqliteJournal("journal.db", begin, keep, disk);
      ASSERT_TRUE(again.ok()) << again.status();
      left.insert(again->from);
    }
  }
  EXPECT_THAT(left, ElementsAre(coordinator::kOldestFormat, coordinator::kNewestFormat));
}

}  // namespace
}  // namespace tributary::sim
