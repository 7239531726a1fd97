// The address where callers have no certificate: what it shows, and what it refuses.
#include "coordinator/rpc/enrolment_server.h"

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/csr.h"
#include "common/pinned_ca.h"
#include "coordinator/journal/open_journal.h"
#include "tests/common/test_folder.h"
#include "tests/common/unchecked_certificates.h"
#include "tests/coordinator/rpc/rpc_support.h"
#include "tributary/v1/enrolment.grpc.pb.h"

namespace tributary::coordinator {
namespace {

using ::testing::HasSubstr;

class EnrolmentServerTest : public RpcTest {
 protected:
  void SetUp() override {
    RpcTest::SetUp();
    config_.mutable_enrolment()->set_ca_certificate(TestPki() + "/ca.crt");
    config_.mutable_enrolment()->set_ca_key(TestPki() + "/ca.key");
    config_.mutable_enrolment()->mutable_lifetime()->set_seconds(3600);
    journal_ = OpenSqliteJournal(folder_.File("journal.db"), nullptr).value();
    registrar_ = SiteRegistrar::Open({.clock = &Clock::Real(), .journal = journal_.get(), .registry = &sites_, .changed = nullptr}).value();
    enrolment_ = Enrolment::Open(config_, options_.certificates, &Clock::Real(), registrar_.get()).value();
    enrolments_ = EnrolmentServer::Start("127.0.0.1:0", {.certificates = options_.certificates,
                                                         .metrics = &metrics_,
                                                         .sites = &sites_,
                                                         .enrolment = enrolment_.get(),
                                                         .executor = &executor_})
                      .value();
    address_ = absl::StrCat("127.0.0.1:", enrolments_->port());
    token_ = ParseToken(enrolment_->MakeToken("berlin", absl::Hours(1), {"alice", ""}).value().token()).value();
  }
  void TearDown() override {
    enrolments_.reset();
    RpcTest::TearDown();
  }

  std::shared_ptr<grpc::Channel> Channel(const std::string& federation) {
    const absl::StatusOr<PinnedCoordinator> pinned = AskForPinnedCoordinator(address_, Route(), token_.ca, kPatience);
    EXPECT_TRUE(pinned.ok()) << pinned.status();
    return grpc::CreateChannel(address_, MakeEnrolmentCredentials(pinned.value_or(PinnedCoordinator()).ca, federation));
  }
  grpc::Status Enrol(const std::string& secret, v1::EnrolResponse* response) {
    grpc::ClientContext context;
    Bound(context);
    v1::EnrolRequest request;
    request.set_secret(secret);
    request.set_csr(MakeCsr(MakePrivateKey().value(), "test", {"test", Role::kSite, "berlin"}).value());
    return v1::EnrolmentService::NewStub(Channel("test"))->Enrol(&context, request, response);
  }

  const TestFolder folder_;
  std::unique_ptr<Journal> journal_;
  std::unique_ptr<SiteRegistrar> registrar_;
  std::unique_ptr<Enrolment> enrolment_;
  std::unique_ptr<EnrolmentServer> enrolments_;
  std::string address_;
  EnrolmentToken token_;
};

TEST_F(EnrolmentServerTest, GivesACertificateToWhoeverHasTheToken) {
  v1::EnrolResponse response;
  const grpc::Status status = Enrol(token_.secret, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.site(), "berlin");
  EXPECT_TRUE(response.has_issued());
}

TEST_F(EnrolmentServerTest, AGuessedTokenIsRefusedAndLogged) {
  testing::internal::CaptureStderr();
  v1::EnrolResponse response;
  EXPECT_EQ(Enrol(std::string(kTokenSecretBytes, 'x'), &response).error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(Enrol("short", &response).error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("refused 127.0.0.1: the token is not known here"));
  EXPECT_THAT(metrics_.Text(), HasSubstr("tributary_calls_refused_total{reason=\"enrolment\"} 2\n"));
}

TEST_F(EnrolmentServerTest, ManyGuessesAreToldToWait) {
  v1::EnrolResponse response;
  const auto stub = v1::EnrolmentService::NewStub(Channel("test"));
  grpc::StatusCode last = grpc::StatusCode::PERMISSION_DENIED;
  for (int i = 0; i < 10'000 && last == grpc::StatusCode::PERMISSION_DENIED; ++i) {
    grpc::ClientContext context;
    Bound(context);
    last = stub->Enrol(&context, {}, &response).error_code();
  }
  EXPECT_EQ(last, grpc::StatusCode::RESOURCE_EXHAUSTED);
}

TEST_F(EnrolmentServerTest, ServesNothingElse) {
  const auto channel = Channel("test");
  grpc::ClientContext context;
  Bound(context);
  v1::ListSitesResponse sites;
  EXPECT_EQ(v1::AdminService::NewStub(channel)->ListSites(&context, {}, &sites).error_code(), grpc::StatusCode::UNIMPLEMENTED);
}

TEST_F(EnrolmentServerTest, AnotherCasFingerprintIsNotFoundThere) {
  const absl::Status status = AskForPinnedCoordinator(address_, Route(), Sha256("another CA"), kPatience).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnauthenticated);
  EXPECT_THAT(std::string(status.message()), HasSubstr("the token was not sent"));
}

}  // namespace
}  // namespace tributary::coordinator
