// Commands against a coordinator that answers as the test says, over a real connection.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/notification.h"
#include "common/checksum.h"
#include "common/clock.h"
#include "common/files.h"
#include "common/safetensors.h"
#include "common/tls.h"
#include "optim/model_spec.h"
#include "optim/replica_state.h"
#include "optim/snapshot.h"
#include "optim/state_hash.h"
#include "proto/config/run_options.h"
#include "proto/config/yaml.h"
#include "tests/cli/run_command.h"
#include "tests/common/test_folder.h"
#include "tests/common/unchecked_certificates.h"
#include "tests/support/connect_proxy.h"
#include "tests/support/guarded_server.h"
#include "tributary/v1/admin.grpc.pb.h"
#include "tributary/v1/transfer.grpc.pb.h"

namespace tributary::cli {
namespace {

using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using Json = nlohmann::json;

[[maybe_unused]] const bool tls13_only = (RequireTls13(), true);

constexpr char kRun[] =
    "name: r\nrounds: 3\nmodel: {mlp: {inputs: 3, hidden: [4], outputs: 2}}\ndata: {kind: csv, label_column: y}\n"
    "optimizer: {mode: diloco, local_steps: 2, learning_rate: {peak: 1e-3}}\n";

v1::RunStatus StatusAt(uint64_t round, v1::RunState state) {
  v1::RunStatus status;
  status.set_run_id("r-1");
  EXPECT_TRUE(ParseYaml(kRun, "run.yaml", status.mutable_spec()).ok());
  status.set_round(round);
  status.set_state(state);
  return status;
}

// Written by a server's thread, read by the test's.
template <typename T>
class Shared {
 public:
  void Set(T value) {
    std::lock_guard<std::mutex> lock(mutex_);
    value_ = std::move(value);
  }
  T Get() const {
    std::lock_guard<std::mutex> lock(mutex_);
    return value_;
  }

 private:
  mutable std::mutex mutex_;
  T value_{};
};

class FakeAdmin final : public v1::AdminService::Service {
 public:
  std::vector<v1::RunStatus> statuses;                               // WatchRun sends these, one attempt after another up to a null run id
  grpc::Status gap = {grpc::StatusCode::UNAVAILABLE, "restarting"};  // with which an attempt then ends
  grpc::Status refusal;                                              // of every call, unless OK
  Shared<std::string> caller;
  Shared<v1::RunSpec> submitted;
  Shared<std::string> stop_reason;
  int64_t clock_offset_ms = 0;
  uint32_t oldest_protocol = 1;
  uint32_t newest_protocol = 0;  // 0: as the release that knew one version
  absl::Notification* block_watch = nullptr;

  grpc::Status SubmitRun(grpc::ServerContext* context, const v1::SubmitRunRequest* request, v1::RunStatus* response) override {
    submitted.Set(request->spec());
    *response = StatusAt(0, v1::SUBMITTED);
    const auto identity = ClaimedIdentity(*context, "demo");
    caller.Set(identity.ok() ? SpiffeId(*identity) : std::string(identity.status().message()));
    return refusal;
  }
  grpc::Status ListRuns(grpc::ServerContext*, const v1::ListRunsRequest*, v1::ListRunsResponse* response) override {
    if (!statuses.empty()) {
      *response->add_runs() = statuses.front();
    }
    return refusal;
  }
  grpc::Status GetRun(grpc::ServerContext*, const v1::GetRunRequest* request, v1::RunStatus* response) override {
    if (request->run() != "r" && request->run() != "r-1") {
      return grpc::Status(grpc::StatusCode::NOT_FOUND, "no run '" + request->run() + "'");
    }
    *response = statuses.front();
    return refusal;
  }
  grpc::Status GetRunHistory(grpc::ServerContext*, const v1::GetRunRequest*, v1::RunHistory* response) override {
    response->add_rounds()->set_round(1);
    response->add_rounds()->set_round(2);
    return refusal;
  }
  grpc::Status WatchRun(grpc::ServerContext* context, const v1::GetRunRequest*, grpc::ServerWriter<v1::RunStatus>* writer) override {
    while (next_ < statuses.size()) {
      const v1::RunStatus& status = statuses[next_++];
      if (status.run_id().empty()) {
        return gap;
      }
      writer->Write(status);
    }
    if (block_watch != nullptr) {
      block_watch->Notify();
      while (!context->IsCancelled()) {
        std::this_thread::yield();
      }
    }
    return refusal;
  }
  grpc::Status StopRun(grpc::ServerContext*, const v1::StopRunRequest* request, v1::RunStatus* response) override {
    stop_reason.Set(request->reason());
    *response = StatusAt(2, v1::STOPPED);
    return refusal;
  }
  grpc::Status PauseRun(grpc::ServerContext*, const v1::PauseRunRequest* request, v1::RunStatus* response) override {
    *response = StatusAt(2, v1::PAUSED);
    response->set_reason(request->run() + " paused: " + request->reason());
    return refusal;
  }
  grpc::Status ResumeRun(grpc::ServerContext*, const v1::ResumeRunRequest* request, v1::RunStatus* response) override {
    *response = StatusAt(2, v1::RUNNING);
    response->set_reason(request->run() + " resumed");
    return refusal;
  }
  grpc::Status ExtendRun(grpc::ServerContext*, const v1::ExtendRunRequest* request, v1::RunStatus* response) override {
    *response = StatusAt(2, v1::RUNNING);
    response->set_reason(request->run() + " extended to " + std::to_string(request->rounds()));
    response->add_warnings("the disk is small");
    return refusal;
  }
  grpc::Status GetServerInfo(grpc::ServerContext*, const v1::GetServerInfoRequest*, v1::ServerInfo* response) override {
    response->set_software_version(TRIBUTARY_VERSION);
    response->set_protocol_version(oldest_protocol);
    response->set_newest_protocol_version(newest_protocol);
    response->set_unix_ms(absl::ToUnixMillis(Clock::Real().WallNow()) + clock_offset_ms);
    response->set_data_dir_free_bytes(uint64_t{100} << 30);
    response->add_sites_connected("berlin");
    return refusal;
  }

 private:
  size_t next_ = 0;
};

class FakeTransfer final : public v1::TransferService::Service {
 public:
  enum class Fault { kNone, kBreakOnce, kDamagedFrame, kWrongDigest, kTooLong };
  std::string snapshot;
  Fault fault = Fault::kNone;
  Shared<std::vector<uint64_t>> offsets;  // of the attempts
  absl::Duration clock_offset;

  grpc::Status Download(grpc::ServerContext* context, const v1::DownloadRequest* request,
                        grpc::ServerWriter<v1::DownloadFrame>* writer) override {
    context->AddTrailingMetadata(kCoordinatorTimeKey, absl::StrCat(absl::ToUnixMillis(Clock::Real().WallNow() + clock_offset)));
    if (request->run_id().empty()) {
      return grpc::Status(grpc::StatusCode::NOT_FOUND, "no run ''");
    }
    std::vector<uint64_t> attempts = offsets.Get();
    attempts.push_back(request->offset());
    offsets.Set(attempts);
    constexpr size_t kFrame = 64;
    for (uint64_t offset = request->offset(); offset < snapshot.size(); offset += kFrame) {
      if (fault == Fault::kBreakOnce && offset >= 2 * kFrame && attempts.size() == 1) {
        return grpc::Status(grpc::StatusCode::UNAVAILABLE, "link down");
      }
      v1::DownloadFrame frame;
      frame.set_total_bytes(fault == Fault::kTooLong ? uint64_t{1} << 40 : snapshot.size());
      frame.set_offset(offset);
      frame.set_data(snapshot.substr(offset, kFrame));
      frame.set_crc32c(Crc32c(frame.data()) + (fault == Fault::kDamagedFrame ? 1 : 0));
      if (offset + kFrame >= snapshot.size()) {
        frame.set_sha256(fault == Fault::kWrongDigest ? std::string(32, 'x') : DigestBytes(Sha256(snapshot)));
      }
      writer->Write(frame);
    }
    return grpc::Status::OK;
  }
};

class OnlineTest : public ::testing::Test {
 protected:
  void SetUp() override {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&admin_);
    builder.RegisterService(&transfer_);
    server_ = builder.BuildAndStart();
    address_ = absl::StrCat("127.0.0.1:", port);
    admin_.statuses = {StatusAt(2, v1::RUNNING)};
  }
  void TearDown() override { server_->Shutdown(); }

  Result Command(std::vector<std::string> arguments, bool terminal = false, Interrupt* interrupt = nullptr) {
    for (const char* shared : {"--insecure", "--federation", "demo", "--name", "ada", "--coordinator"}) {
      arguments.push_back(shared);
    }
    arguments.push_back(address_);
    return RunCommand(arguments, "", terminal, interrupt);
  }

  // Puts the state after round 2 where the fake coordinator sends it from.
  optim::ReplicaState ServeState() {
    const v1::RunStatus status = StatusAt(2, v1::RUNNING);
    const optim::Layout layout = optim::MakeLayout(ModelSpecOf(status.spec()).value()).value();
    std::vector<float> theta(static_cast<size_t>(layout.size()));
    for (size_t i = 0; i < theta.size(); ++i) {
      theta[i] = static_cast<float>(i) / 8;
    }
    optim::ReplicaState state = optim::InitialState(OptimizerOptionsOf(status.spec()).value(), layout, theta).value();
    state.round = 2;
    transfer_.snapshot = optim::EncodeSnapshot(layout, state);
    admin_.statuses[0].set_state_hash(DigestBytes(optim::StateHash(layout, state)));
    return state;
  }

  FakeAdmin admin_;
  FakeTransfer transfer_;
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
  const TestFolder directory_;
};

TEST_F(OnlineTest, SubmitSendsTheCompletedRunAndSaysWhoCalls) {
  ASSERT_TRUE(WriteFileAtomically(directory_.File("run.yaml"), kRun).ok());
  const Result result = Command({"run", "submit", directory_.File("run.yaml"), "--format", "json"});
  EXPECT_EQ(result.code, ExitCode::kOk) << result.err;
  EXPECT_EQ(Json::parse(result.out).at("run_id"), "r-1");
  EXPECT_EQ(admin_.submitted.Get().participation().quorum(), 0.5);
  EXPECT_EQ(admin_.caller.Get(), "spiffe://demo/operator/ada");
  EXPECT_THAT(result.err, HasSubstr("warning: --insecure"));
}

TEST_F(OnlineTest, CallsThroughAProxy) {
  ConnectProxy proxy;
  EXPECT_THAT(Command({"run", "list", "--proxy", proxy.url()}).out, HasSubstr("r     r-1  running  2/3"));
  EXPECT_THAT(proxy.requests(), SizeIs(1));
}

TEST_F(OnlineTest, NamesTheProxyInEveryErrorOfTheConnection) {
  ConnectProxy wants({.wanted = "YWRhOnNlY3JldA=="});
  EXPECT_THAT(Command({"run", "list", "--proxy", wants.url()}).err,
              HasSubstr(absl::StrCat("through the proxy ", wants.url(), " (`proxy`): the proxy wants a user name and a password (407)")));
  const Result gone = Command({"run", "list", "--proxy", "http://127.0.0.1:1"});
  EXPECT_EQ(gone.code, ExitCode::kUnreachable);
  EXPECT_THAT(gone.err, HasSubstr("through the proxy http://127.0.0.1:1"));
}

TEST_F(OnlineTest, ListStatusAndStopShowRuns) {
  EXPECT_THAT(Command({"run", "list"}).out, HasSubstr("r     r-1  running  2/3"));
  EXPECT_THAT(Command({"run", "status"}).out, HasSubstr("r (r-1)"));
  EXPECT_THAT(Command({"run", "pause", "r", "--reason", "maintenance"}).out, HasSubstr("paused: r paused: maintenance"));
  EXPECT_THAT(Command({"run", "resume", "r"}).out, HasSubstr("running: r resumed"));
  EXPECT_THAT(Command({"run", "extend", "r", "--rounds", "9"}).out, HasSubstr("running: r extended to 9"));
  EXPECT_THAT(Command({"run", "extend", "r", "--rounds", "9"}).err, HasSubstr("warning: the disk is small"));
  EXPECT_EQ(Command({"run", "pause"}).code, ExitCode::kUsage) << "which run is not guessed";
  EXPECT_THAT(Command({"run", "stop", "r", "--reason", "enough"}).out, HasSubstr("stopped"));
  EXPECT_EQ(admin_.stop_reason.Get(), "enough");
}

TEST_F(OnlineTest, AnUnknownRunIsNotFound) {
  const Result result = Command({"run", "status", "other"});
  EXPECT_EQ(result.code, ExitCode::kNotFound);
  EXPECT_THAT(result.err, HasSubstr("no run 'other'"));
}

TEST_F(OnlineTest, WithoutAnyRunTheWayOnIsShown) {
  admin_.statuses.clear();
  const Result result = Command({"run", "status"});
  EXPECT_EQ(result.code, ExitCode::kNotFound);
  EXPECT_THAT(result.err, HasSubstr("tributary run submit FILE"));
}

TEST_F(OnlineTest, ARefusalIsOfCredentials) {
  admin_.refusal = grpc::Status(grpc::StatusCode::PERMISSION_DENIED, "not in the registry");
  const Result result = Command({"run", "list"});
  EXPECT_EQ(result.code, ExitCode::kCredentials);
  EXPECT_THAT(result.err, HasSubstr("not in the registry"));
}

TEST_F(OnlineTest, ARequestThatDoesNotFitIsAnErrorOfUsage) {
  admin_.refusal = grpc::Status(grpc::StatusCode::FAILED_PRECONDITION, "run r-1 is over");
  EXPECT_EQ(Command({"run", "stop", "r"}).code, ExitCode::kUsage);
}

TEST_F(OnlineTest, WatchPrintsOneLineForEachChangeAndEndsWell) {
  admin_.statuses = {StatusAt(1, v1::RUNNING), StatusAt(1, v1::RUNNING), StatusAt(2, v1::RUNNING), StatusAt(3, v1::FINISHED)};
  const Result result = Command({"run", "watch", "r"});
  EXPECT_EQ(result.code, ExitCode::kOk) << result.err;
  EXPECT_EQ(result.out,
            "r  running  round 1/3  sites 0\nr  running  round 2/3  sites 0\nr  finished  round 3/3  sites 0\n"
            "r finished at round 3 of 3\n");
}

TEST_F(OnlineTest, WatchIntoAFileCutsNothing) {
  admin_.statuses = {StatusAt(1, v1::PAUSED), StatusAt(3, v1::FINISHED)};
  const std::string reason(300, 'x');
  admin_.statuses[0].set_reason(reason);
  EXPECT_THAT(Command({"run", "watch", "r"}).out, HasSubstr("sites 0  (" + reason + ")\n"));
}

TEST_F(OnlineTest, AFollowedHistoryShowsEachRoundOnceWhenTheNextHasFollowed) {
  admin_.statuses = {StatusAt(0, v1::RUNNING), StatusAt(1, v1::RUNNING), StatusAt(2, v1::RUNNING), StatusAt(2, v1::FINISHED)};
  Result result = Command({"run", "history", "r", "--follow", "--format", "json"});
  EXPECT_EQ(result.code, ExitCode::kOk) << result.err;
  const std::vector<std::string> lines = absl::StrSplit(result.out, '\n', absl::SkipEmpty());
  ASSERT_THAT(lines, SizeIs(2));
  EXPECT_EQ(Json::parse(lines[0]).at("round"), 1);
  EXPECT_EQ(Json::parse(lines[1]).at("round"), 2);
}

TEST_F(OnlineTest, AFollowedHistoryHasOneHeadingAndTellsHowTheRunEnded) {
  admin_.statuses = {StatusAt(2, v1::RUNNING), StatusAt(2, v1::FAILED)};
  const Result result = Command({"run", "history", "r", "--follow", "--format", "csv"});
  EXPECT_EQ(result.code, ExitCode::kRunFailed);
  const std::vector<std::string> lines = absl::StrSplit(result.out, '\n', absl::SkipEmpty());
  ASSERT_THAT(lines, SizeIs(3));
  EXPECT_THAT(lines[0], HasSubstr("round,"));
}

TEST_F(OnlineTest, WatchInJsonIsOneObjectALine) {
  admin_.statuses = {StatusAt(1, v1::RUNNING), StatusAt(3, v1::FINISHED)};
  const Result result = Command({"run", "watch", "r", "--format", "json"});
  const std::vector<std::string> lines = absl::StrSplit(result.out, '\n', absl::SkipEmpty());
  ASSERT_THAT(lines, SizeIs(2));
  EXPECT_EQ(Json::parse(lines[1]).at("state"), "finished");
}

TEST_F(OnlineTest, WatchOnATerminalKeepsOneLine) {
  admin_.statuses = {StatusAt(1, v1::RUNNING), StatusAt(3, v1::FINISHED)};
  const Result result = Command({"run", "watch", "r"}, /*terminal=*/true);
  EXPECT_EQ(result.out, "\rr  running  round 1/3  sites 0\x1b[K\rr  finished  round 3/3  sites 0\x1b[K\nr finished at round 3 of 3\n");
}

TEST_F(OnlineTest, WatchOfAFailedRunSaysWhy) {
  admin_.statuses = {StatusAt(1, v1::FAILED)};
  admin_.statuses[0].set_reason("below 2 workers for 10m");
  const Result result = Command({"run", "watch", "r"});
  EXPECT_EQ(result.code, ExitCode::kRunFailed);
  EXPECT_THAT(result.err, HasSubstr("run r-1 failed: below 2 workers for 10m"));
}

TEST_F(OnlineTest, WatchOutlivesARestartOfTheCoordinator) {
  admin_.statuses = {StatusAt(1, v1::RUNNING), v1::RunStatus(), StatusAt(3, v1::FINISHED)};
  const Result result = Command({"run", "watch", "r"});
  EXPECT_EQ(result.code, ExitCode::kOk) << result.err;
  EXPECT_THAT(result.err, HasSubstr("trying again"));
  EXPECT_THAT(result.out, HasSubstr("finished"));
}

TEST_F(OnlineTest, WatchOutlivesARefusalByWhatStandsBetween) {
  admin_.statuses = {StatusAt(1, v1::RUNNING), v1::RunStatus(), StatusAt(3, v1::FINISHED)};
  admin_.gap = {grpc::StatusCode::PERMISSION_DENIED, "403"};
  const Result result = Command({"run", "watch", "r"});
  EXPECT_EQ(result.code, ExitCode::kOk) << result.err;
  EXPECT_THAT(result.out, HasSubstr("finished"));
}

TEST_F(OnlineTest, WatchTellsOfAnOutageOnce) {
  admin_.statuses = {StatusAt(1, v1::RUNNING), v1::RunStatus(), v1::RunStatus(), v1::RunStatus(), StatusAt(3, v1::FINISHED)};
  const Result result = Command({"run", "watch", "r"});
  EXPECT_EQ(result.code, ExitCode::kOk) << result.err;
  const size_t told = result.err.find("trying again");
  ASSERT_NE(told, std::string::npos);
  EXPECT_EQ(result.err.find("trying again", told + 1), std::string::npos) << result.err;
}

TEST_F(OnlineTest, AnInterruptEndsAWatch) {
  absl::Notification watching;
  admin_.block_watch = &watching;
  Interrupt interrupt;
  std::thread person([&] {
    watching.WaitForNotification();
    interrupt.Raise();
  });
  const Result result = Command({"run", "watch", "r"}, false, &interrupt);
  person.join();
  EXPECT_EQ(result.code, ExitCode::kInterrupted);
}

TEST_F(OnlineTest, HistoryIsCsvOrJson) {
  const std::vector<std::string> lines = absl::StrSplit(Command({"run", "history", "r", "--format", "csv"}).out, '\n', absl::SkipEmpty());
  ASSERT_THAT(lines, SizeIs(3));
  EXPECT_TRUE(absl::StartsWith(lines[0], "round,members,"));
  EXPECT_TRUE(absl::StartsWith(lines[2], "2,0,"));
  EXPECT_THAT(Json::parse(Command({"run", "history", "r", "--format", "json"}).out).at("rounds"), SizeIs(2));
}

TEST_F(OnlineTest, ExportWritesTheStateAsSafetensors) {
  const optim::ReplicaState state = ServeState();
  const std::string file = directory_.File("model.safetensors");
  const Result result = Command({"export", "r", "--round", "2", "--output", file});
  ASSERT_EQ(result.code, ExitCode::kOk) << result.err;
  const auto model = DecodeSafetensors(ReadFile(file, 1 << 20).value());
  ASSERT_TRUE(model.ok()) << model.status();
  std::vector<float> theta;
  for (const auto& tensor : model->tensors) {
    theta.insert(theta.end(), tensor.values.begin(), tensor.values.end());
  }
  EXPECT_EQ(theta, state.theta);
  EXPECT_EQ(model->tensors[0].name, "fc.0.weight");
  EXPECT_EQ(model->metadata.at("tributary.run"), "r-1");
  EXPECT_EQ(model->metadata.at("tributary.round"), "2");
  EXPECT_EQ(model->metadata.at("tributary.state_hash").size(), 64u);
}

TEST_F(OnlineTest, ReportsAndComparisonsAreWrittenAsPages) {
  admin_.statuses = {StatusAt(2, v1::FINISHED)};
  const std::string file = directory_.File("page.html");
  const Result report = Command({"report", "r", "--output", file, "--level", "alone=1.5", "--format", "json"});
  EXPECT_EQ(report.code, ExitCode::kOk) << report.err;
  EXPECT_EQ(Json::parse(report.out).at("runs").at(0), "r-1");
  EXPECT_THAT(*ReadFile(file, 1 << 20), HasSubstr("<!DOCTYPE html>"));
  EXPECT_EQ(Command({"compare", "r", "r-1", "--output", file}).code, ExitCode::kOk);
  EXPECT_THAT(*ReadFile(file, 1 << 20), HasSubstr("2 runs compared"));
}

TEST_F(OnlineTest, AReportWithAWrongComparisonSaysWhatIsRight) {
  admin_.statuses = {StatusAt(2, v1::FINISHED)};
  const std::string file = directory_.File("page.html");
  const Result level = Command({"report", "r", "--output", file, "--level", "alone"});
  EXPECT_EQ(level.code, ExitCode::kUsage);
  EXPECT_THAT(level.err, HasSubstr("NAME=LOSS"));
  EXPECT_EQ(Command({"compare", "r", "--output", file}).code, ExitCode::kUsage);
  const std::string no_png = directory_.File("image.png");
  ASSERT_TRUE(WriteFileAtomically(no_png, "GIF89a").ok());
  EXPECT_THAT(Command({"report", "r", "--output", file, "--image", no_png}).err, HasSubstr("image.png is no PNG"));
  EXPECT_FALSE(std::filesystem::exists(file));
}

TEST_F(OnlineTest, ExportGoesOnWhereTheLinkBroke) {
  ServeState();
  transfer_.fault = FakeTransfer::Fault::kBreakOnce;
  EXPECT_EQ(Command({"export", "--output", directory_.File("m")}).code, ExitCode::kOk);
  EXPECT_EQ(transfer_.offsets.Get(), (std::vector<uint64_t>{0, 128}));
}

TEST_F(OnlineTest, ExportRefusesWhatIsDamagedAndWritesNothing) {
  ServeState();
  for (const auto fault : {FakeTransfer::Fault::kDamagedFrame, FakeTransfer::Fault::kWrongDigest, FakeTransfer::Fault::kTooLong}) {
    transfer_.fault = fault;
    EXPECT_EQ(Command({"export", "--output", directory_.File("m")}).code, ExitCode::kDamaged);
  }
  transfer_.fault = FakeTransfer::Fault::kNone;
  admin_.statuses[0].set_state_hash(std::string(32, 'x'));
  const Result result = Command({"export", "--output", directory_.File("m")});
  EXPECT_EQ(result.code, ExitCode::kDamaged);
  EXPECT_THAT(result.err, HasSubstr("something other than the state after round 2"));
  EXPECT_FALSE(std::filesystem::exists(directory_.File("m")));
}

TEST_F(OnlineTest, ExportOfARoundToComeIsNotFound) {
  const Result result = Command({"export", "r", "--round", "3", "--output", directory_.File("m")});
  EXPECT_EQ(result.code, ExitCode::kNotFound);
  EXPECT_THAT(result.err, HasSubstr("has committed 2 rounds, not 3"));
}

TEST_F(OnlineTest, ExportToAFullOrAbsentPlaceIsAnErrorOfStorage) {
  ServeState();
  EXPECT_EQ(Command({"export", "--output", directory_.File("absent/m")}).code, ExitCode::kStorage);
}

TEST_F(OnlineTest, DoctorComparesClocksAndVersions) {
  Result result = Command({"doctor"});
  EXPECT_EQ(result.code, ExitCode::kOk) << result.out << result.err;
  EXPECT_THAT(result.out, HasSubstr("sites connected: berlin"));
  EXPECT_THAT(result.out, HasSubstr("r running: diloco"));
  admin_.clock_offset_ms = 20 * 60 * 1000;
  result = Command({"doctor"});
  EXPECT_EQ(result.code, ExitCode::kCredentials);
  EXPECT_THAT(result.out, HasSubstr("synchronise both machines by NTP"));
}

TEST_F(OnlineTest, DoctorTellsOfTheRunThatIsOpen) {
  admin_.statuses = {StatusAt(1, v1::PAUSED)};
  admin_.statuses[0].mutable_spec()->set_pipeline(1);
  EXPECT_THAT(Command({"doctor"}).out, HasSubstr("r paused: diloco, local steps 2, pipeline 1"));
}

TEST_F(OnlineTest, DoctorFindsACoordinatorThatSpeaksOurVersionAndANewerOneWell) {
  admin_.newest_protocol = 2;
  const Result result = Command({"doctor"});
  EXPECT_EQ(result.code, ExitCode::kOk) << result.out << result.err;
  EXPECT_THAT(result.out, HasSubstr("(protocol 1 to 2)"));
}

TEST_F(OnlineTest, DoctorSaysWhichSideToUpgradeWhenNoVersionIsCommon) {
  admin_.oldest_protocol = 2;
  const Result result = Command({"doctor"});
  EXPECT_EQ(result.code, ExitCode::kUsage);
  EXPECT_THAT(result.out, HasSubstr("upgrade this program"));
}

TEST_F(OnlineTest, DoctorNamesTheSitesThatTheOpenRunCannotHave) {
  admin_.statuses = {StatusAt(1, v1::RUNNING)};
  v1::SiteStatus& site = *admin_.statuses[0].add_sites();
  site.set_site("oslo");
  site.set_activity("refused: its release 0.1.0 lacks mode:new: upgrade its worker");
  EXPECT_THAT(Command({"doctor"}).out, HasSubstr("site oslo refused: its release 0.1.0 lacks mode:new"));
}

TEST_F(OnlineTest, DoctorListsTheSitesInJson) {
  EXPECT_EQ(Json::parse(Command({"doctor", "--format", "json"}).out).at("sites_connected"), Json({"berlin"}));
}

TEST_F(OnlineTest, DoctorOfASiteReachesTheCoordinator) {
  ASSERT_TRUE(MakeDirectories(directory_.File("data")).ok());
  ASSERT_TRUE(WriteFileAtomically(directory_.File("data/a.txt"), "text").ok());
  ASSERT_TRUE(WriteFileAtomically(directory_.File("worker.yaml"),
                                  absl::StrCat("federation: demo\nsite: berlin\ncoordinator: ", address_,
                                               "\ndata: data\nstate_dir: state\nconsent: {runs: ['*'], models: [gpt]}\n"))
                  .ok());
  const Result result = RunCommand({"doctor", "--worker", directory_.File("worker.yaml"), "--insecure"});
  EXPECT_EQ(result.code, ExitCode::kOk) << result.out;
  EXPECT_THAT(result.out, HasSubstr("answers and knows this caller"));
  EXPECT_THAT(result.out, ContainsRegex("ok +clocks +differ by"));
  transfer_.clock_offset = absl::Minutes(-7);
  const Result skewed = RunCommand({"doctor", "--worker", directory_.File("worker.yaml"), "--insecure"});
  EXPECT_EQ(skewed.code, ExitCode::kCredentials);
  EXPECT_THAT(skewed.out, ContainsRegex("fail +clocks +differ by .*synchronise both machines by NTP"));
}

// What `run list` says to an operator with the certificates `ca` and `own` of a coordinator that is reached at `host`; folders of a CA
// each.
Result ListOverTls(const TestFolder& directory, const std::string& host, const std::string& ca, const std::string& own) {
  for (const char* const folder : {"pki", "other"}) {
    const std::string path = directory.File(folder);
    RunCommand({"pki", "init", path, "--federation", "demo"});
    RunCommand({"pki", "issue", path, "--coordinator", "--host", host});
    RunCommand({"pki", "issue", path, "--operator", "ada"});
  }
  const std::string pki = directory.File("pki");
  FakeAdmin admin;
  grpc::ServerBuilder builder;
  builder.RegisterService(&admin);
  const GuardedServer server(builder, Unchecked({pki + "/ca.crt", pki + "/coordinator.crt", pki + "/coordinator.key"}));
  // Its own files must fit together, or no connection is tried.
  const std::string trusted = directory.File("trusted.crt");
  EXPECT_TRUE(
      WriteFileAtomically(trusted, *ReadFile(directory.File(own + "/ca.crt"), 10'000) + *ReadFile(directory.File(ca + "/ca.crt"), 10'000))
          .ok());
  return RunCommand({"run", "list", "--coordinator", server.address(), "--ca", ca == own ? directory.File(ca + "/ca.crt") : trusted,
                     "--cert", directory.File(own + "/operator-ada.crt"), "--key", directory.File(own + "/operator-ada.key")});
}

TEST(TlsTest, AnOperatorOfThisFederationIsServed) {
  const TestFolder directory;
  const Result result = ListOverTls(directory, "127.0.0.1", "pki", "pki");
  EXPECT_EQ(result.code, ExitCode::kOk) << result.err;
}

TEST(TlsTest, AnotherCaIsToldFromAnotherNameAndFromARefusal) {
  {
    const TestFolder directory;
    const Result result = ListOverTls(directory, "127.0.0.1", "other", "other");
    EXPECT_EQ(result.code, ExitCode::kCredentials);
    EXPECT_THAT(result.err, AllOf(HasSubstr("the server's certificate is not trusted here"), HasSubstr("issued by 'CN=demo CA,O=demo'")));
  }
  {
    const TestFolder directory;
    const Result result = ListOverTls(directory, "hub.example.org", "pki", "pki");
    EXPECT_EQ(result.code, ExitCode::kCredentials);
    EXPECT_THAT(result.err, AllOf(HasSubstr("to a name in the certificate"), HasSubstr("DNS:hub.example.org")));
  }
  {
    const TestFolder directory;
    const Result result = ListOverTls(directory, "127.0.0.1", "pki", "other");
    EXPECT_NE(result.code, ExitCode::kOk);
    EXPECT_THAT(result.err, HasSubstr("may not trust the CA of the certificate used here"));
  }
}

}  // namespace
}  // namespace tributary::cli
