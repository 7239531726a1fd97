#include "coordinator/server.h"

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <httplib.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <future>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/clock.h"
#include "common/exit_codes.h"
#include "common/files.h"
#include "common/pki.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/common/test_folder.h"
#include "tests/common/unchecked_certificates.h"
#include "tests/coordinator/rpc/rpc_support.h"

namespace tributary::coordinator {
namespace {

using ::testing::HasSubstr;

class ServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const TlsFiles files = FilesFor("coordinator");
    config_.set_federation("test");
    config_.set_data_dir(folder_.File("data"));
    config_.set_listen("127.0.0.1:0");
    config_.set_health_listen("127.0.0.1:0");
    // The metrics page takes two seconds to stop; a test that wants it asks for it.
    config_.set_metrics_listen("");
    config_.mutable_tls()->set_ca(files.ca);
    config_.mutable_tls()->set_certificate(files.certificate);
    config_.mutable_tls()->set_key(files.key);
    config_.add_sites("berlin");
    config_.add_operators("alice");
    config_.mutable_lease()->set_seconds(30);
    config_.mutable_snapshots()->set_every(100);
    config_.mutable_snapshots()->set_keep(2);
    config_.set_max_inline(256 << 10);
    config_.set_max_update(1 << 30);
    config_.mutable_drain_timeout()->set_seconds(20);
  }

  std::unique_ptr<Server> Start() {
    absl::StatusOr<std::unique_ptr<Server>> server = Server::Start(config_, {});
    EXPECT_TRUE(server.ok()) << server.status();
    return server.ok() ? *std::move(server) : nullptr;
  }
  void ExpectRefused(ExitCode code, const std::string& message, const Server::Options& options = {}) {
    const absl::Status status = Server::Start(config_, options).status();
    EXPECT_FALSE(status.ok());
    EXPECT_EQ(ExitCodeOf(status), code) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(message));
    EXPECT_FALSE(std::filesystem::exists(config_.data_dir() + "/endpoints.json"));
  }
  static std::shared_ptr<grpc::Channel> ChannelAs(const Server& server, const std::string& stem) {
    return grpc::CreateChannel(server.endpoints().listen, MakeChannelCredentials(ReadUnchecked(FilesFor(stem))));
  }
  static void Bound(grpc::ClientContext& context) { context.set_deadline(absl::ToChronoTime(Clock::Real().WallNow() + kPatience)); }

  // The byte that says how the server feels: 1 serving, 2 not serving; or the error.
  static absl::StatusOr<int> Health(const std::shared_ptr<grpc::Channel>& channel) {
    grpc::GenericStub stub(channel);
    grpc::ClientContext context;
    Bound(context);
    grpc::ByteBuffer request;
    {
      const grpc::Slice empty;
      request = grpc::ByteBuffer(&empty, 1);
    }
    grpc::ByteBuffer response;
    const auto done = std::make_shared<std::promise<grpc::Status>>();
    stub.UnaryCall(&context, "/grpc.health.v1.Health/Check", grpc::StubOptions(), &request, &response,
                   [done](grpc::Status result) { done->set_value(std::move(result)); });
    const grpc::Status status = done->get_future().get();
    if (!status.ok()) {
      return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
    }
    grpc::Slice slice;
    EXPECT_TRUE(response.DumpToSingleSlice(&slice).ok());
    EXPECT_EQ(slice.size(), 2U);
    return slice.begin()[1];
  }
  static absl::StatusOr<int> HealthOf(const Server& server) {
    return Health(grpc::CreateChannel(server.endpoints().health, grpc::InsecureChannelCredentials()));
  }

  const TestFolder folder_;
  v1::CoordinatorConfig config_;
};

TEST_F(ServerTest, SaysWhereItServesAndTakesThatBackWhenItStops) {
  config_.set_metrics_listen("127.0.0.1:0");
  const std::string path = config_.data_dir() + "/endpoints.json";
  const auto server = Start();
  const nlohmann::json endpoints = nlohmann::json::parse(*ReadFile(path, 4096));
  EXPECT_EQ(endpoints["listen"], server->endpoints().listen);
  EXPECT_EQ(endpoints["health"], server->endpoints().health);
  EXPECT_EQ(endpoints["metrics"], server->endpoints().metrics);
  EXPECT_THAT(server->endpoints().listen, ::testing::MatchesRegex("127\\.0\\.0\\.1:[1-9][0-9]*"));
  server->Shutdown(absl::ZeroDuration());
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST_F(ServerTest, ShowsItsStatusToPeopleOnThisMachine) {
  config_.set_status_listen("127.0.0.1:0");
  const auto server = Start();
  httplib::Client client("http://" + server->endpoints().status);
  const httplib::Result page = client.Get("/");
  ASSERT_TRUE(page);
  EXPECT_THAT(page->body, HasSubstr("Federation test"));
  EXPECT_THAT(page->body, HasSubstr("<td>berlin</td><td>away</td>"));
}

TEST_F(ServerTest, RefusesToShowItsStatusToOthers) {
  config_.set_status_listen("0.0.0.0:0");
  ExpectRefused(ExitCode::kUsage, "status_listen: '0.0.0.0:0' is not an address of this machine alone");
}

TEST_F(ServerTest, AnswersOperatorsWithTheRealCoordinator) {
  const auto server = Start();
  const auto stub = v1::AdminService::NewStub(ChannelAs(*server, "operator-alice"));
  grpc::ClientContext context;
  Bound(context);
  v1::ServerInfo info;
  const grpc::Status status = stub->GetServerInfo(&context, {}, &info);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(info.software_version(), TRIBUTARY_VERSION);
  EXPECT_GT(info.data_dir_free_bytes(), 0U);
}

TEST_F(ServerTest, ServesHealthInPlaintextAloneAndNotOnTheWorkersPort) {
  const auto server = Start();
  EXPECT_EQ(*HealthOf(*server), 1);
  EXPECT_EQ(Health(ChannelAs(*server, "site-berlin")).status().code(), absl::StatusCode::kUnimplemented);
  const auto stub = v1::AdminService::NewStub(grpc::CreateChannel(server->endpoints().health, grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  Bound(context);
  v1::ServerInfo info;
  EXPECT_EQ(stub->GetServerInfo(&context, {}, &info).error_code(), grpc::StatusCode::UNIMPLEMENTED);
}

TEST_F(ServerTest, ServesMetricsThatCountWhatMoves) {
  config_.set_metrics_listen("127.0.0.1:0");
  const auto server = Start();
  const auto stub = v1::SessionService::NewStub(ChannelAs(*server, "site-berlin"));
  grpc::ClientContext context;
  Bound(context);
  const auto stream = stub->Open(&context);
  v1::WorkerMessage hello;
  hello.mutable_hello()->set_protocol_version(1);
  ASSERT_TRUE(stream->Write(hello));
  v1::CoordinatorMessage welcome;
  ASSERT_TRUE(stream->Read(&welcome));
  EXPECT_EQ(welcome.welcome().lease_ms(), 30000U);

  const std::vector<std::string> address = absl::StrSplit(server->endpoints().metrics, ':');
  httplib::Client client(address[0], std::stoi(address[1]));
  const auto page = client.Get("/metrics");
  ASSERT_TRUE(page);
  EXPECT_THAT(page->body, HasSubstr("tributary_site_up{site=\"berlin\"} 1"));
  EXPECT_THAT(page->body, HasSubstr("tributary_build_info{"));
  EXPECT_THAT(page->body, HasSubstr("tributary_certificate_expiry_timestamp_seconds{party=\"coordinator\"} 1"));
  EXPECT_THAT(page->body, HasSubstr("tributary_certificate_expiry_timestamp_seconds{party=\"site/berlin\"} 1"));
  EXPECT_THAT(page->body, HasSubstr("tributary_certificate_files_refused 0"));
  EXPECT_THAT(page->body, ::testing::ContainsRegex("tributary_bytes_total\\{direction=\"down\",kind=\"control\",site=\"berlin\"\\} [1-9]"));
  context.TryCancel();
  stream->Finish();
}

TEST_F(ServerTest, ServesMetricsOnIpv6) {
  config_.set_metrics_listen("[::1]:0");
  const auto server = Start();
  const std::string endpoint = server->endpoints().metrics;
  EXPECT_THAT(endpoint, ::testing::MatchesRegex("\\[::1\\]:[1-9][0-9]*"));
  const auto page = httplib::Client("::1", std::stoi(endpoint.substr(endpoint.rfind(':') + 1))).Get("/metrics");
  ASSERT_TRUE(page);
  EXPECT_THAT(page->body, HasSubstr("tributary_build_info{"));
}

TEST_F(ServerTest, TakesOverSitesAndOperatorsWithoutARestart) {
  const auto server = Start();
  const auto stub = v1::SessionService::NewStub(ChannelAs(*server, "site-berlin"));
  grpc::ClientContext context;
  Bound(context);
  const auto stream = stub->Open(&context);
  v1::WorkerMessage hello;
  hello.mutable_hello()->set_protocol_version(1);
  ASSERT_TRUE(stream->Write(hello));
  v1::CoordinatorMessage message;
  ASSERT_TRUE(stream->Read(&message));

  config_.clear_sites();
  config_.add_sites("paris");
  config_.clear_operators();
  config_.add_operators("eve");
  EXPECT_EQ(server->Reload(config_), absl::OkStatus());
  EXPECT_FALSE(stream->Read(&message)) << "the session of a site that is off the list is closed";
  const grpc::Status end = stream->Finish();
  EXPECT_EQ(end.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_THAT(end.error_message(), HasSubstr("add 'berlin' to `sites`"));

  const auto admin_status = [&](const std::string& stem) {
    grpc::ClientContext call;
    Bound(call);
    v1::ServerInfo info;
    return v1::AdminService::NewStub(ChannelAs(*server, stem))->GetServerInfo(&call, {}, &info).error_code();
  };
  EXPECT_EQ(admin_status("operator-eve"), grpc::StatusCode::OK);
  EXPECT_EQ(admin_status("operator-alice"), grpc::StatusCode::PERMISSION_DENIED);

  grpc::ClientContext of_paris;
  Bound(of_paris);
  const auto welcome = v1::SessionService::NewStub(ChannelAs(*server, "site-paris"))->Open(&of_paris);
  ASSERT_TRUE(welcome->Write(hello));
  EXPECT_TRUE(welcome->Read(&message));
  of_paris.TryCancel();
  welcome->Finish();
}

TEST_F(ServerTest, ACaThatIsPinnedSpeaksForItsSiteAndForNobodyElse) {
  const std::string hospital = folder_.File("hospital");
  ASSERT_TRUE(std::filesystem::create_directory(hospital));
  ASSERT_TRUE(InitCa(hospital, "test", absl::Hours(24)).ok());
  for (const Identity& identity : {Identity{"test", Role::kSite, "berlin"}, Identity{"test", Role::kOperator, "alice"}}) {
    CertificateRequest request;
    request.identity = identity;
    ASSERT_TRUE(IssueCertificate(hospital, request).ok());
  }
  config_.add_sites("paris");
  v1::CoordinatorConfig pinned = config_;
  pinned.add_authorities()->set_ca(hospital + "/ca.crt");
  pinned.mutable_authorities(0)->add_sites("berlin");
  const auto server = Start();
  ASSERT_NE(server, nullptr);

  // What comes of a call with the certificate `stem` that `ca` issued.
  const auto outcome = [&](const std::string& ca, const std::string& stem) {
    TlsFiles files = FilesFor(stem);
    files.certificate = ca + "/" + stem + ".crt";
    files.key = ca + "/" + stem + ".key";
    const auto channel = grpc::CreateChannel(server->endpoints().listen, MakeChannelCredentials(ReadUnchecked(files)));
    grpc::ClientContext context;
    Bound(context);
    v1::UploadProgress progress;
    return v1::TransferService::NewStub(channel)->GetUploadProgress(&context, {}, &progress);
  };
  const std::string common = FolderOf(FilesFor("site-berlin").certificate);
  const auto welcome = grpc::StatusCode::OK;
  EXPECT_EQ(outcome(common, "site-berlin").error_code(), welcome);
  EXPECT_EQ(outcome(hospital, "site-berlin").error_code(), grpc::StatusCode::UNAVAILABLE) << "its CA is not trusted";

  ASSERT_TRUE(server->Reload(pinned).ok());
  EXPECT_EQ(outcome(hospital, "site-berlin").error_code(), welcome);
  EXPECT_EQ(outcome(common, "site-paris").error_code(), welcome);
  const grpc::Status forged = outcome(common, "site-berlin");
  EXPECT_EQ(forged.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_THAT(forged.error_message(), HasSubstr("only the CA that `authorities` in coordinator.yaml pins to"));
  const grpc::Status usurped = outcome(hospital, "operator-alice");
  EXPECT_EQ(usurped.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_THAT(usurped.error_message(), HasSubstr("may not speak for it"));

  pinned.mutable_authorities(0)->set_ca(FilesFor("site-berlin").certificate);
  EXPECT_EQ(ExitCodeOf(server->Reload(pinned)), ExitCode::kCredentials) << "it is not a CA";
  EXPECT_EQ(outcome(hospital, "site-berlin").error_code(), welcome);
}

TEST_F(ServerTest, ABadConfigurationChangesNothing) {
  const auto server = Start();
  v1::CoordinatorConfig bad = config_;
  bad.clear_operators();
  bad.add_operators("eve");
  bad.mutable_tls()->set_certificate(folder_.File("none.crt"));
  EXPECT_EQ(ExitCodeOf(server->Reload(bad)), ExitCode::kCredentials);
  bad = config_;
  bad.set_listen("https://coordinator:8443");
  EXPECT_EQ(ExitCodeOf(server->Reload(bad)), ExitCode::kUsage);
  const auto stub = v1::AdminService::NewStub(ChannelAs(*server, "operator-alice"));
  grpc::ClientContext context;
  Bound(context);
  v1::ServerInfo info;
  EXPECT_TRUE(stub->GetServerInfo(&context, {}, &info).ok());
}

TEST_F(ServerTest, TheFolderIsFreeOnceItHasShutDown) {
  const auto server = Start();
  server->Shutdown(absl::ZeroDuration());
  EXPECT_NE(Start(), nullptr) << "while the object of the first still lives";
}

TEST_F(ServerTest, DrainsByTellingSessionsWhenToComeBack) {
  const auto server = Start();
  const auto stub = v1::SessionService::NewStub(ChannelAs(*server, "site-berlin"));
  grpc::ClientContext context;
  Bound(context);
  const auto stream = stub->Open(&context);
  v1::WorkerMessage hello;
  hello.mutable_hello()->set_protocol_version(1);
  ASSERT_TRUE(stream->Write(hello));
  v1::CoordinatorMessage message;
  ASSERT_TRUE(stream->Read(&message));

  const auto drained = std::make_shared<std::promise<void>>();
  server->Drain([drained] { drained->set_value(); });
  drained->get_future().wait();
  EXPECT_EQ(*HealthOf(*server), 2);
  ASSERT_TRUE(stream->Read(&message));
  EXPECT_GT(message.drain().reconnect_after_ms(), 0U);
  EXPECT_FALSE(stream->Read(&message));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  grpc::ClientContext late;
  Bound(late);
  EXPECT_EQ(stub->Open(&late)->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  server->Shutdown(kPatience);
}

TEST_F(ServerTest, StartsAgainOnWhatItLeft) {
  Start();
  EXPECT_NE(Start(), nullptr);
}

TEST_F(ServerTest, RefusesAFolderThatAnotherCoordinatorUses) {
  const auto server = Start();
  config_.set_listen(server->endpoints().listen);
  config_.set_health_listen(server->endpoints().health);
  const absl::Status status = Server::Start(config_, {}).status();
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kStorage);
  EXPECT_THAT(std::string(status.message()), HasSubstr("a running coordinator"));
  EXPECT_TRUE(std::filesystem::exists(config_.data_dir() + "/endpoints.json")) << "the one that serves keeps its file";
}

TEST_F(ServerTest, SaysWhichAddressIsTaken) {
  config_.set_metrics_listen("127.0.0.1:0");
  v1::CoordinatorConfig first = config_;
  first.set_data_dir(folder_.File("first"));
  const auto server = Server::Start(first, {});
  ASSERT_TRUE(server.ok()) << server.status();
  const Endpoints taken = (*server)->endpoints();
  config_.set_metrics_listen("");
  config_.set_listen(taken.listen);
  ExpectRefused(ExitCode::kUsage, absl::StrCat("cannot listen on ", taken.listen, ": another program is listening there"));
  config_.set_listen("127.0.0.1:0");
  config_.set_health_listen(taken.health);
  ExpectRefused(ExitCode::kUsage, absl::StrCat("health_listen: cannot listen on ", taken.health));
  config_.set_health_listen("");
  config_.set_metrics_listen(taken.metrics);
  ExpectRefused(ExitCode::kUsage, absl::StrCat("metrics_listen: cannot listen on ", taken.metrics));
  config_.set_metrics_listen("");
  config_.set_listen("192.0.2.1:0");
  ExpectRefused(ExitCode::kUsage, "cannot listen on 192.0.2.1:0");
}

TEST_F(ServerTest, SaysWhatIsWrongWithItsCertificate) {
  config_.mutable_tls()->set_certificate(folder_.File("none.crt"));
  ExpectRefused(ExitCode::kCredentials, "none.crt");

  const TlsFiles site = FilesFor("site-berlin");
  config_.mutable_tls()->set_certificate(site.certificate);
  config_.mutable_tls()->set_key(site.key);
  ExpectRefused(ExitCode::kCredentials, "site-berlin.crt");

  const std::string other = folder_.File("other");
  ASSERT_TRUE(std::filesystem::create_directory(other));
  ASSERT_TRUE(InitCa(other, "test", absl::Hours(24)).ok());
  const TlsFiles own = FilesFor("coordinator");
  config_.mutable_tls()->set_certificate(own.certificate);
  config_.mutable_tls()->set_key(own.key);
  config_.mutable_tls()->set_ca(other + "/ca.crt");
  ExpectRefused(ExitCode::kCredentials, "CA");

  CertificateRequest expired;
  expired.identity = {"test", Role::kCoordinator, ""};
  expired.hosts = {"localhost"};
  expired.validity = -absl::Hours(1);
  expired.backdate = absl::Hours(3);
  ASSERT_TRUE(IssueCertificate(other, expired).ok());
  config_.mutable_tls()->set_certificate(other + "/coordinator.crt");
  config_.mutable_tls()->set_key(other + "/coordinator.key");
  ExpectRefused(ExitCode::kCredentials, "expired");

  config_.clear_tls();
  ExpectRefused(ExitCode::kUsage, "--insecure");
}

TEST_F(ServerTest, RunsWithoutTlsOnLoopbackOnlyUnlessToldTwice) {
  config_.clear_tls();
  config_.set_listen("0.0.0.0:0");
  Server::Options options;
  options.insecure = true;
  ExpectRefused(ExitCode::kUsage, "--insecure-anywhere", options);
  options.insecure_anywhere = true;
  EXPECT_TRUE(Server::Start(config_, options).ok());
  options.insecure_anywhere = false;
  config_.set_listen("127.0.0.1:0");
  EXPECT_TRUE(Server::Start(config_, options).ok());
}

TEST_F(ServerTest, SaysWhenItsFolderCannotBe) {
  std::ofstream(folder_.File("file")) << "x";
  config_.set_data_dir(folder_.File("file/data"));
  ExpectRefused(ExitCode::kStorage, folder_.File("file"));
}

TEST_F(ServerTest, RefusesADamagedJournalAndLeavesItAlone) {
  Start();
  const std::string path = config_.data_dir() + "/journal.db";
  std::filesystem::resize_file(path, 5000);
  const std::string before = *ReadFile(path, 1 << 20);
  ExpectRefused(ExitCode::kDamaged, path);
  EXPECT_EQ(*ReadFile(path, 1 << 20), before);
}

}  // namespace
}  // namespace tributary::coordinator
