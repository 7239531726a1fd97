#include "tests/coordinator/rpc/rpc_support.h"

#include <cstdlib>
#include <future>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/pki.h"
#include "tests/common/test_folder.h"
#include "tests/common/unchecked_certificates.h"

namespace tributary::coordinator {
namespace {

void MakePki(const std::string& folder) {
  // Before the first use of gRPC in this program, as in the coordinator's main().
  RequireTls13();
  EXPECT_TRUE(InitCa(folder, "test", absl::Hours(24)).ok());
  const auto issue = [&](Role role, const std::string& name, std::vector<std::string> hosts) {
    CertificateRequest request;
    request.identity = {"test", role, name};
    request.hosts = std::move(hosts);
    const absl::Status status = IssueCertificate(folder, request);
    EXPECT_TRUE(status.ok()) << status;
  };
  issue(Role::kCoordinator, "", {"localhost", "127.0.0.1"});
  issue(Role::kSite, "berlin", {});
  issue(Role::kSite, "paris", {});
  issue(Role::kSite, "mallory", {});
  issue(Role::kOperator, "alice", {});
  issue(Role::kOperator, "eve", {});
  issue(Role::kAuditor, "ann", {});
}

}  // namespace

const std::string& TestPki() {
  struct Made {
    Made() { MakePki(folder.path()); }
    TestFolder folder;
  };
  static const Made made;
  return made.folder.path();
}

TlsFiles FilesFor(const std::string& stem) {
  return {TestPki() + "/ca.crt", absl::StrCat(TestPki(), "/", stem, ".crt"), absl::StrCat(TestPki(), "/", stem, ".key")};
}

void RpcTest::SetUp() {
  const TlsFiles files = FilesFor("coordinator");
  config_.set_federation("test");
  config_.set_listen("127.0.0.1:0");
  config_.mutable_tls()->set_ca(files.ca);
  config_.mutable_tls()->set_certificate(files.certificate);
  config_.mutable_tls()->set_key(files.key);
  config_.add_operators("alice");
  config_.add_auditors("ann");
  options_.certificates = Unchecked(files);
  options_.metrics = &metrics_;
  options_.transfers.metrics = &metrics_;
}

void RpcTest::StartServer() {
  absl::StatusOr<std::unique_ptr<RpcServer>> server = RpcServer::Start(config_, options_, &sites_, &coordinator_, &executor_);
  ASSERT_TRUE(server.ok()) << server.status();
  server_ = *std::move(server);
}

void RpcTest::TearDown() {
  server_.reset();
  executor_.Stop();
}

void RpcTest::OnExecutor(std::function<void()> work) {
  const auto done = std::make_shared<std::promise<void>>();
  executor_.Post([&work, done] {
    work();
    done->set_value();
  });
  done->get_future().wait();
}

std::shared_ptr<grpc::Channel> RpcTest::ChannelAs(const std::string& stem, int port) {
  return grpc::CreateChannel(absl::StrCat("127.0.0.1:", port == 0 ? server_->port() : port),
                             MakeChannelCredentials(ReadUnchecked(FilesFor(stem))));
}

void RpcTest::Bound(grpc::ClientContext& context) {
  context.set_deadline(absl::ToChronoTime(Clock::Real().WallNow() + kPatience));
}

void RpcTest::Broadcast(const std::shared_ptr<const v1::CoordinatorMessage>& message) {
  OnExecutor([&] {
    // A copy: a session may close itself when it is sent to.
    for (const auto& [site, session] : coordinator_.With([](RecordingCoordinator& recorded) { return recorded.sessions; })) {
      session->Send(message);
    }
  });
}

v1::CoordinatorMessage MakeCommitMessage(size_t bytes) {
  v1::CoordinatorMessage message;
  message.mutable_commit()->set_run_id("run");
  message.mutable_commit()->set_record(std::string(bytes, 'c'));
  return message;
}

}  // namespace tributary::coordinator
