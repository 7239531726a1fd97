// Whole workers over real gRPC, with a trainer that needs no LibTorch.
#include "worker/worker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>
#include <signal.h>

#include <atomic>
#include <cmath>
#include <fstream>
#include <thread>

#include "common/exit_codes.h"
#include "tests/common/test_folder.h"
#include "tests/support/connect_proxy.h"
#include "tests/worker/engine_driver.h"
#include "tests/worker/served_federation.h"
#include "tests/worker/session_client_support.h"

namespace tributary::worker {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

constexpr uint64_t kRounds = 6;

// As the program does.
[[maybe_unused]] const bool prepared = (RequireTls13(), signal(SIGPIPE, SIG_IGN), true);

// The "gradient" is a function of round and parameters, so that two replicas that differ train differently.
class FakeTrainer final : public Trainer {
 public:
  explicit FakeTrainer(std::function<void(uint64_t round)> before) : before_(std::move(before)) {}

  absl::StatusOr<StepResult> ComputeDirection(const optim::RoundParameters& parameters, absl::Span<const float> theta,
                                              absl::Span<float> direction) override {
    if (before_) {
      before_(parameters.round);
    }
    for (size_t i = 0; i < theta.size(); ++i) {
      direction[i] = theta[i] + 0.1f * static_cast<float>(std::sin(static_cast<double>(parameters.round * 31 + i)));
    }
    return StepResult{.train_loss = 1.5f, .compute_seconds = 0.25f};
  }
  uint64_t training_samples() const override { return 42; }
  absl::StatusOr<Evaluation> Evaluate(absl::Span<const float>) override { return Evaluation{2.5, {}}; }

 private:
  const std::function<void(uint64_t round)> before_;
};

v1::RunSpec Spec() {
  v1::RunSpec spec = MakeSpec();
  spec.set_rounds(kRounds);
  return spec;
}

// A worker on a thread of its own.
class RunningWorker {
 public:
  struct Setup {
    std::optional<TlsFiles> tls = std::nullopt;
    bool once = true;
    bool metrics = false;
    v1::ConsentConfig consent = MakeConsent();
    std::function<void(uint64_t round)> before_step = nullptr;
    // Of a worker that comes back; empty: one of its own.
    std::string state_dir = "";
    std::string proxy = "";
  };

  RunningWorker(const std::string& coordinator, Setup setup) {
    WorkerOptions options;
    v1::WorkerConfig& config = options.config;
    config.set_federation("demo");
    config.set_site("berlin");
    config.set_coordinator(coordinator);
    config.set_data("/nowhere");
    config.set_state_dir(setup.state_dir.empty() ? directory_.path() : setup.state_dir);
    config.set_threads(1);
    config.mutable_max_backoff()->set_nanos(50'000'000);
    *config.mutable_consent() = std::move(setup.consent);
    if (setup.metrics) {
      config.set_metrics_listen("127.0.0.1:0");
    }
    if (setup.tls.has_value()) {
      config.mutable_tls()->set_ca(setup.tls->ca);
      config.mutable_tls()->set_certificate(setup.tls->certificate);
      config.mutable_tls()->set_key(setup.tls->key);
    }
    options.insecure = !setup.tls.has_value();
    options.route = ChooseRoute(coordinator, setup.proxy, {}).value();
    options.software_version = "1.2.3";
    options.once = setup.once;
    options.min_backoff = absl::Milliseconds(5);
    options.frame_bytes = 100;
    options.random = [] { return 0.0; };
    options.make_trainer = [before = setup.before_step](const TrainerOptions&, const optim::Layout&) {
      return std::make_unique<FakeTrainer>(before);
    };
    config_ = options.config;
    worker_ = Worker::Create(std::move(options)).value();
    thread_ = std::thread([this] { ended_.Set(worker_->Run()); });
  }
  ~RunningWorker() {
    worker_->RequestStop("the test is over");
    thread_.join();
  }

  absl::Status Wait() { return ended_.Wait(); }
  const v1::WorkerConfig& config() const { return config_; }
  Worker& operator*() { return *worker_; }
  Worker* operator->() { return worker_.get(); }

 private:
  const TestFolder directory_;
  v1::WorkerConfig config_;
  std::unique_ptr<Worker> worker_;
  Awaited<absl::Status> ended_;
  std::thread thread_;
};

// The hash of the run without faults.
std::string UndisturbedHash(ServedFederation::Script script = {}) {
  ServedFederation coordinator(Spec(), script);
  const TestHub hub(coordinator.Handlers());
  RunningWorker worker(hub.address(), {});
  EXPECT_EQ(worker.Wait(), absl::OkStatus());
  return coordinator.state_hash();
}

// Hash that the worker reported of its last state.
std::string ReportedHash(const ServedFederation& coordinator) {
  coordinator.WaitFor(v1::WorkerMessage::kStateReport, 1);
  const auto reports = coordinator.Received(v1::WorkerMessage::kStateReport);
  return reports.empty() ? "" : reports.back().state_report().state_hash();
}

TEST(WorkerTest, ARunEndsWithTheCoordinatorsState) {
  const TestPki pki;
  ServedFederation coordinator(Spec(), {});
  const TestHub hub(coordinator.Handlers(), &pki);
  RunningWorker worker(hub.address(), {.tls = pki.Files("site-berlin")});
  EXPECT_EQ(worker.Wait(), absl::OkStatus());
  EXPECT_EQ(coordinator.round(), kRounds);
  EXPECT_EQ(ReportedHash(coordinator), coordinator.state_hash());
  EXPECT_EQ(coordinator.downloads(), 0) << "the seed gives state[0]";

  const auto updates = coordinator.Received(v1::WorkerMessage::kUpdate);
  ASSERT_THAT(updates, SizeIs(kRounds));
  EXPECT_EQ(updates[0].update().report().train_loss(), 1.5f);
  EXPECT_EQ(updates[0].update().report().val_loss(), 2.5f);
  EXPECT_EQ(updates[0].update().report().samples(), 0u) << "nobody asked for the size of the site's data";
  EXPECT_FALSE(updates[1].update().report().has_val_loss());
  EXPECT_EQ(coordinator.Received(v1::WorkerMessage::kStateReport)[0].state_report().val_loss(), 2.5f);
}

TEST(WorkerTest, TheSizeOfTheDataIsToldToARunThatWeighsByIt) {
  v1::RunSpec spec = Spec();
  spec.mutable_optimizer()->set_weighting(v1::SAMPLES);
  ServedFederation coordinator(spec, {});
  const TestHub hub(coordinator.Handlers());
  RunningWorker worker(hub.address(), {});
  EXPECT_EQ(worker.Wait(), absl::OkStatus());
  const auto updates = coordinator.Received(v1::WorkerMessage::kUpdate);
  ASSERT_THAT(updates, SizeIs(kRounds));
  for (const v1::WorkerMessage& update : updates) {
    EXPECT_EQ(update.update().report().samples(), 42u);
  }
}

TEST(WorkerTest, AnUpdateLostWithItsSessionIsSentAgainByteForByte) {
  ServedFederation coordinator(Spec(), {.lose_update = 3});
  const TestHub hub(coordinator.Handlers());
  RunningWorker worker(hub.address(), {});
  EXPECT_EQ(worker.Wait(), absl::OkStatus());
  const std::vector<std::string> sent = coordinator.Payloads(3);
  ASSERT_THAT(sent, SizeIs(2));
  EXPECT_EQ(sent[0], sent[1]);
  EXPECT_EQ(coordinator.state_hash(), UndisturbedHash());
}

TEST(WorkerTest, AReceiptLostWithItsSessionChangesNothing) {
  ServedFederation coordinator(Spec(), {.lose_receipt = 3});
  const TestHub hub(coordinator.Handlers());
  RunningWorker worker(hub.address(), {});
  EXPECT_EQ(worker.Wait(), absl::OkStatus());
  EXPECT_THAT(coordinator.Payloads(3), SizeIs(1));
  EXPECT_EQ(ReportedHash(coordinator), coordinator.state_hash());
  EXPECT_EQ(coordinator.state_hash(), UndisturbedHash()) << "the residual must lose what was included";
}

TEST(WorkerTest, AnUpdateThatWasNotIncludedStaysInTheResidual) {
  ServedFederation coordinator(Spec(), {.companion = true, .close_without = 3});
  const TestHub hub(coordinator.Handlers());
  RunningWorker worker(hub.address(), {});
  EXPECT_EQ(worker.Wait(), absl::OkStatus());
  EXPECT_EQ(ReportedHash(coordinator), coordinator.state_hash());
  EXPECT_NE(coordinator.state_hash(), UndisturbedHash({.companion = true}));
}

TEST(WorkerTest, AReplicaThatDiffersStartsFromASnapshot) {
  ServedFederation coordinator(Spec(), {.wrong_commit = 3});
  const TestHub hub(coordinator.Handlers());
  RunningWorker worker(hub.address(), {});
  EXPECT_EQ(worker.Wait(), absl::OkStatus());
  EXPECT_EQ(ReportedHash(coordinator), coordinator.state_hash());
  EXPECT_THAT(worker->metrics().Text(), HasSubstr("tributary_worker_replica_hash_mismatches_total 1"));
}

TEST(WorkerTest, WeightsThatTheSeedDoesNotGiveAreDownloaded) {
  ServedFederation coordinator(Spec(), {.other_weights = true});
  const TestHub hub(coordinator.Handlers());
  RunningWorker worker(hub.address(), {});
  EXPECT_EQ(worker.Wait(), absl::OkStatus());
  EXPECT_EQ(ReportedHash(coordinator), coordinator.state_hash());
  EXPECT_EQ(coordinator.downloads(), 1);
}

TEST(WorkerTest, LongUpdatesAndCommitsTravelBesideTheSession) {
  ServedFederation coordinator(Spec(), {.max_inline = 1});
  const TestHub hub(coordinator.Handlers());
  RunningWorker worker(hub.address(), {});
  EXPECT_EQ(worker.Wait(), absl::OkStatus());
  EXPECT_EQ(coordinator.uploads(), static_cast<int>(kRounds));
  EXPECT_EQ(coordinator.downloads(), static_cast<int>(kRounds));
  EXPECT_EQ(ReportedHash(coordinator), coordinator.state_hash());
  EXPECT_EQ(coordinator.state_hash(), UndisturbedHash());
}

TEST(WorkerTest, AfterADrainTheWorkerReturnsAndGoesOn) {
  ServedFederation coordinator(Spec(), {.drain = 4});
  const TestHub hub(coordinator.Handlers());
  RunningWorker worker(hub.address(), {});
  EXPECT_EQ(worker.Wait(), absl::OkStatus());
  EXPECT_THAT(coordinator.Received(v1::WorkerMessage::kHello), SizeIs(2));
  EXPECT_EQ(coordinator.state_hash(), UndisturbedHash());
}

TEST(WorkerTest, ACoordinatorThatGoesAwayIsFoundAgain) {
  ServedFederation coordinator(Spec(), {.hold_first_round = true});
  auto hub = std::make_unique<TestHub>(coordinator.Handlers());
  const int port = hub->port();
  RunningWorker worker(hub->address(), {});
  coordinator.WaitFor(v1::WorkerMessage::kUpdate, 1);
  hub.reset();
  const TestHub returned(coordinator.Handlers(), nullptr, port);
  coordinator.WaitFor(v1::WorkerMessage::kUpdate, 2);
  coordinator.Release();
  EXPECT_EQ(worker.Wait(), absl::OkStatus());
  EXPECT_EQ(coordinator.Payloads(1)[0], coordinator.Payloads(1)[1]);
  EXPECT_EQ(coordinator.state_hash(), UndisturbedHash());
}

TEST(WorkerTest, AWorkerThatIsStartedAgainGoesOnWhereItWas) {
  for (const int stops_at_update : {1, 3}) {
    const TestFolder directory;
    ServedFederation coordinator(Spec(), {.lose_receipt = 3});
    const TestHub hub(coordinator.Handlers());
    {
      RunningWorker first(hub.address(), {.once = false, .state_dir = directory.path()});
      coordinator.WaitFor(v1::WorkerMessage::kUpdate, stops_at_update);
    }
    RunningWorker second(hub.address(), {.state_dir = directory.path()});
    EXPECT_EQ(second.Wait(), absl::OkStatus());
    EXPECT_EQ(coordinator.round(), kRounds);
    EXPECT_EQ(ReportedHash(coordinator), coordinator.state_hash());
    EXPECT_EQ(coordinator.state_hash(), UndisturbedHash()) << "stopped at update " << stops_at_update;
  }
}

TEST(WorkerTest, AStateFolderHasOneWorker) {
  const TestFolder directory;
  ServedFederation coordinator(Spec(), {.hold_first_round = true});
  const TestHub hub(coordinator.Handlers());
  RunningWorker first(hub.address(), {.once = false, .state_dir = directory.path()});
  WorkerOptions options;
  options.config.set_state_dir(directory.path());
  *options.config.mutable_consent() = MakeConsent();
  options.insecure = true;
  const absl::Status second = Worker::Create(std::move(options)).status();
  EXPECT_EQ(ExitCodeOf(second), ExitCode::kStorage);
  EXPECT_THAT(std::string(second.message()), AllOf(HasSubstr(directory.path()), HasSubstr("another worker")));
}

TEST(WorkerTest, HeartbeatsGoOnDuringALongStep) {
  ServedFederation coordinator(Spec(), {.lease = absl::Milliseconds(300)});
  const TestHub hub(coordinator.Handlers());
  RunningWorker worker(hub.address(), {.before_step = [&coordinator](uint64_t round) {
                         if (round == 1) {
                           coordinator.WaitFor(v1::WorkerMessage::kHeartbeat, 5);
                         }
                       }});
  EXPECT_EQ(worker.Wait(), absl::OkStatus());
}

TEST(WorkerTest, ARefusedRunReachesTheCoordinatorAndEndsAWorkerThatServesOne) {
  ServedFederation coordinator(Spec(), {});
  const TestHub hub(coordinator.Handlers());
  v1::ConsentConfig consent = MakeConsent();
  consent.set_runs(0, "koran-*");
  RunningWorker worker(hub.address(), {.consent = consent});
  const absl::Status status = worker.Wait();
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kConsent) << status;
  coordinator.WaitFor(v1::WorkerMessage::kRunAnswer, 1);
  EXPECT_THAT(coordinator.Received(v1::WorkerMessage::kRunAnswer)[0].run_answer().refusal(), HasSubstr("consent.runs"));
}

TEST(WorkerTest, AWorkerThatIsToldToStopSaysSo) {
  ServedFederation coordinator(Spec(), {.hold_first_round = true});
  const TestHub hub(coordinator.Handlers());
  RunningWorker worker(hub.address(), {.once = false});
  coordinator.WaitFor(v1::WorkerMessage::kUpdate, 1);
  worker->RequestStop("maintenance");
  EXPECT_EQ(worker.Wait(), absl::OkStatus());
  coordinator.WaitFor(v1::WorkerMessage::kLeave, 1);
  EXPECT_EQ(coordinator.Received(v1::WorkerMessage::kLeave)[0].leave().reason(), "maintenance");
}

TEST(WorkerTest, TakesPartThroughAProxy) {
  ServedFederation coordinator(Spec(), {});
  const TestHub hub(coordinator.Handlers());
  ConnectProxy proxy;
  testing::internal::CaptureStderr();
  {
    RunningWorker worker(hub.address(), {.proxy = proxy.url()});
    EXPECT_EQ(worker.Wait(), absl::OkStatus());
  }
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              HasSubstr(absl::StrCat("connected to the coordinator at ", hub.address(), " through the proxy ", proxy.url())));
  EXPECT_THAT(proxy.requests(), Not(::testing::IsEmpty()));
}

TEST(WorkerTest, SaysWhatAProxyWants) {
  ConnectProxy proxy({.wanted = "YWRhOnNlY3JldA=="});
  testing::internal::CaptureStderr();
  {
    RunningWorker worker("127.0.0.1:1", {.proxy = proxy.url()});
    while (proxy.requests().size() < 2) {
      std::this_thread::yield();
    }
  }
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              HasSubstr(absl::StrCat("cannot reach the coordinator at 127.0.0.1:1 through the proxy ", proxy.url(),
                                     " (`proxy`): the proxy wants a user name and a password (407)")));
}

TEST(WorkerTest, TheMetricsShowNoValueThatIsNotKnown) {
  const TestFolder folder;
  WorkerMetrics metrics("berlin", "1.2.3", folder.path());
  const std::string page = metrics.Text();
  for (const char* name :
       {"tributary_worker_loss{", "tributary_worker_residual_norm ", "tributary_worker_round ", "tributary_worker_run_info"}) {
    EXPECT_THAT(page, Not(HasSubstr(name)));
  }
  for (const char* name :
       {"tributary_worker_disk_free_bytes", "tributary_worker_memory_resident_bytes", "tributary_worker_memory_limit_bytes"}) {
    EXPECT_THAT(page, ::testing::ContainsRegex(absl::StrCat("\n", name, " [1-9]")));
  }
}

TEST(WorkerTest, TheMetricsForgetTheLastRunWhenAnotherBegins) {
  const TestFolder folder;
  WorkerMetrics metrics("berlin", "1.2.3", folder.path());
  metrics.BeginRun("first");
  metrics.SetTrainLoss(2);
  metrics.BeginRun("second");
  EXPECT_THAT(metrics.Text(), HasSubstr("tributary_worker_run_info{run=\"second\"} 1"));
  EXPECT_THAT(metrics.Text(), Not(HasSubstr("first")));
  EXPECT_THAT(metrics.Text(), Not(HasSubstr("tributary_worker_loss{")));
}

TEST(WorkerTest, AWorkerThatWasConnectedOutlivesAForeignCertificate) {
  const TestPki pki, foreign;
  auto federation = std::make_unique<ServedFederation>(Spec(), ServedFederation::Script{.hold_first_round = true});
  auto hub = std::make_unique<TestHub>(federation->Handlers(), &pki);
  RunningWorker worker(hub->address(), {.tls = pki.Files("site-berlin")});
  federation->WaitFor(v1::WorkerMessage::kUpdate, 1);
  const int port = hub->port();
  testing::internal::CaptureStderr();
  hub.reset();
  {
    // At the start, an attempt, the question what was presented, and the next attempt.
    Awaited<bool> next_attempt;
    const TestHub portal(
        {.open = WaitForEnd},
        [&, pair = Unchecked(foreign.Files("coordinator"))(), asked = std::make_shared<std::atomic<int>>(0)] {
          if (++*asked == 4) {
            next_attempt.Set(true);
          }
          return pair;
        },
        port);
    EXPECT_TRUE(next_attempt.Wait());
  }
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              AllOf(HasSubstr("the server's certificate is not trusted here"), HasSubstr("URI:spiffe://demo/coordinator")));
  federation->Release();
  hub = std::make_unique<TestHub>(federation->Handlers(), &pki, port);
  EXPECT_EQ(worker.Wait(), absl::OkStatus());
  EXPECT_EQ(federation->round(), kRounds);
}

TEST(WorkerTest, RenewedFilesAreUsedForTheNextSession) {
  const TestPki pki;
  ServedFederation coordinator(Spec(), {.drain = 2});
  const TestHub hub(coordinator.Handlers(), &pki);
  RunningWorker worker(hub.address(), {.tls = pki.Files("site-berlin"), .metrics = true, .before_step = [&](uint64_t round) {
                                         if (round == 1) {
                                           std::ofstream(pki.Files("site-berlin").key) << "";
                                         }
                                       }});
  EXPECT_EQ(worker.Wait(), absl::OkStatus()) << "the last good pair serves";
  EXPECT_THAT(worker->metrics().Text(), ContainsRegex("tributary_worker_certificate_expiry_timestamp_seconds 1"));
}

TEST(WorkerTest, ReloadTakesConsentAndNamesWhatNeedsARestart) {
  const TestHub hub({.open = WaitForEnd});
  RunningWorker worker(hub.address(), {.once = false});
  v1::WorkerConfig config = worker.config();
  config.mutable_consent()->add_runs("other-*");
  config.set_threads(7);
  testing::internal::CaptureStderr();
  EXPECT_EQ(worker->Reload(config), absl::OkStatus());
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("reloaded: consent. Changed, and not in force before a restart: threads"));
  config.mutable_consent()->add_models("gtp");
  EXPECT_EQ(ExitCodeOf(worker->Reload(config)), ExitCode::kUsage);
}

TEST(WorkerTest, TheMetricsPageShowsWhatHappened) {
  ServedFederation coordinator(Spec(), {});
  const TestHub hub(coordinator.Handlers());
  RunningWorker worker(hub.address(), {.metrics = true});
  EXPECT_EQ(worker.Wait(), absl::OkStatus());
  httplib::Client client("http://" + worker->metrics_address());
  const httplib::Result page = client.Get("/metrics");
  ASSERT_TRUE(page);
  for (const char* line :
       {"tributary_worker_step_seconds_count{phase=\"compute\"} 6", "tributary_worker_step_seconds_count{phase=\"encode\"} 6",
        "tributary_worker_step_seconds_count{phase=\"persist\"} 6", "tributary_worker_step_seconds_count{phase=\"apply\"} 6",
        "tributary_worker_step_seconds_count{phase=\"evaluate\"} 2", "tributary_worker_samples_total 48",
        "tributary_worker_updates_total{result=\"included\"} 6", "tributary_worker_loss{split=\"train\"} 1.5", "tributary_worker_round 6",
        "tributary_worker_build_info{site=\"berlin\",version=\"1.2.3\"} 1", "tributary_worker_residual_norm ",
        "tributary_worker_bytes_total{direction=\"up\",kind=\"update\"} ",
        "tributary_worker_bytes_total{direction=\"down\",kind=\"commit\"} "}) {
    EXPECT_THAT(page->body, HasSubstr(line));
  }
}

absl::StatusOr<std::unique_ptr<Worker>> WithQuietHours(absl::StatusOr<absl::TimeZone> zone) {
  const TestFolder folder;
  WorkerOptions options;
  options.config.set_coordinator("127.0.0.1:1");
  options.config.set_state_dir(folder.path());
  *options.config.mutable_consent() = MakeConsent();
  options.config.mutable_max_backoff()->set_seconds(1);
  options.config.add_quiet_hours("22:00-06:00");
  options.random = [] { return 0.0; };
  options.insecure = true;
  options.time_zone = std::move(zone);
  return Worker::Create(std::move(options));
}

TEST(WorkerTest, QuietHoursNeedATimeZone) {
  const absl::Status status = WithQuietHours(absl::InvalidArgumentError("cannot load the time zone TZ=Europe/Berln")).status();
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kUsage);
  EXPECT_EQ(status.message(), "quiet_hours: cannot load the time zone TZ=Europe/Berln");
}

TEST(WorkerTest, ShowsTheTimeZoneOfItsQuietHoursAtStart) {
  testing::internal::CaptureStderr();
  const absl::Status status = WithQuietHours(absl::UTCTimeZone()).status();
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              HasSubstr("quiet hours 22:00-06:00 by the clock of UTC (UTC, UTC+00:00), where it is "));
  EXPECT_EQ(status, absl::OkStatus());
}

}  // namespace
}  // namespace tributary::worker
