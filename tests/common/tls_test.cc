// A real server and real clients over loopback: who gets in, who does not, and with which version of TLS.
#include "common/tls.h"

#include <gmock/gmock.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <openssl/ssl.h>
#include <signal.h>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "common/certificate_files.h"
#include "common/clock.h"
#include "common/exit_codes.h"
#include "common/files.h"
#include "common/pki.h"
#include "common/tls_probe.h"
#include "common/x509.h"
#include "tests/common/test_folder.h"
#include "tests/common/unchecked_certificates.h"
#include "tests/support/guarded_server.h"

namespace tributary {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

const Identity kCoordinator{"demo", Role::kCoordinator, ""};
const Identity kBerlin{"demo", Role::kSite, "berlin"};

// gRPC reads the variable once a process, so this comes before every test.
[[maybe_unused]] const bool prepared = (RequireTls13(), signal(SIGPIPE, SIG_IGN), true);

// Answers every call with the caller's identity, as a status message.
class IdentityService final : public grpc::CallbackGenericService {
 public:
  explicit IdentityService(std::string federation) : federation_(std::move(federation)) {}

  // Null: plaintext.
  void SetPeers(const coordinator::PeerTable* peers) { peers_ = peers; }

 private:
  class Reactor final : public grpc::ServerGenericBidiReactor {
   public:
    explicit Reactor(const absl::StatusOr<Identity>& identity) {
      Finish(identity.ok() ? grpc::Status(grpc::StatusCode::ALREADY_EXISTS, SpiffeId(*identity))
                           : grpc::Status(grpc::StatusCode::UNAUTHENTICATED, std::string(identity.status().message())));
    }
    void OnDone() override { delete this; }
  };

  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext* context) override {
    return new Reactor(peers_ == nullptr ? ClaimedIdentity(*context, federation_)
                                         : IdentityOf(peers_->Find(context->peer()).value().uris, "the certificate", federation_));
  }

  const std::string federation_;
  const coordinator::PeerTable* peers_ = nullptr;
};

class TestServer {
 public:
  // Without `certificates`: plaintext.
  TestServer(CertificateSource certificates, const std::string& federation) : service_(federation) {
    const bool with_tls = certificates != nullptr;
    grpc::ServerBuilder builder;
    builder.RegisterCallbackGenericService(&service_);
    server_ = std::make_unique<GuardedServer>(builder, std::move(certificates));
    service_.SetPeers(with_tls ? &server_->peers() : nullptr);
  }
  std::string address() const { return server_->address(); }

 private:
  IdentityService service_;
  std::unique_ptr<GuardedServer> server_;
};

// The identity the server saw, or the error of the call.
absl::StatusOr<std::string> Call(const std::string& address, std::shared_ptr<grpc::ChannelCredentials> credentials,
                                 const std::vector<std::string>& claimed = {}) {
  const auto channel = grpc::CreateChannel(address, std::move(credentials));
  grpc::GenericStub stub(channel);
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(Clock::Real().WallNow() + absl::Seconds(20)));
  for (const std::string& id : claimed) {
    context.AddMetadata(kInsecureIdentityKey, id);
  }
  const grpc::Slice empty;
  const grpc::ByteBuffer request(&empty, 1);
  grpc::ByteBuffer response;
  grpc::Status status;
  absl::Notification done;
  stub.UnaryCall(&context, "/test/WhoAmI", {}, &request, &response, [&](grpc::Status result) {
    status = std::move(result);
    done.Notify();
  });
  done.WaitForNotification();
  if (status.error_code() == grpc::StatusCode::ALREADY_EXISTS) {
    return status.error_message();
  }
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

// Serial number, in hexadecimal, of the certificate a server shows to a TLS client of at most `version`; an error if the handshake fails.
absl::StatusOr<std::string> Handshake(const std::string& address, const TlsFiles& files, int version) {
  using ContextPtr = std::unique_ptr<SSL_CTX, OpenSslDelete<SSL_CTX_free>>;
  const ContextPtr context(SSL_CTX_new(TLS_client_method()));
  SSL_CTX_set_max_proto_version(context.get(), version);
  SSL_CTX_use_certificate_file(context.get(), files.certificate.c_str(), SSL_FILETYPE_PEM);
  SSL_CTX_use_PrivateKey_file(context.get(), files.key.c_str(), SSL_FILETYPE_PEM);
  SSL_CTX_set_alpn_protos(context.get(), reinterpret_cast<const unsigned char*>("\x02h2"), 3);
  const BioPtr bio(BIO_new_ssl_connect(context.get()));
  BIO_set_conn_hostname(bio.get(), address.c_str());
  if (BIO_do_connect(bio.get()) != 1 || BIO_do_handshake(bio.get()) != 1) {
    return CredentialsError("handshake refused");
  }
  SSL* ssl = nullptr;
  BIO_get_ssl(bio.get(), &ssl);
  const X509Ptr certificate(SSL_get1_peer_certificate(ssl));
  const std::unique_ptr<BIGNUM, OpenSslDelete<BN_free>> serial(ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate.get()), nullptr));
  char* text = BN_bn2hex(serial.get());
  std::string hex(text);
  OPENSSL_free(text);
  return hex;
}

class TlsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(InitCa(directory_.path(), "demo", absl::Hours(24)).ok());
    Issue({.identity = kCoordinator, .hosts = {"127.0.0.1"}});
    Issue({.identity = kBerlin, .hosts = {}});
  }

  void Issue(const CertificateRequest& request) { ASSERT_TRUE(IssueCertificate(directory_.path(), request).ok()); }

  TlsFiles Files(const std::string& stem, const std::string& folder = "") const {
    const std::string base = folder.empty() ? directory_.path() : directory_.File(folder);
    return {base + "/ca.crt", base + "/" + stem + ".crt", base + "/" + stem + ".key"};
  }

  const TestFolder directory_;
};

TEST_F(TlsTest, AClientOfTheFederationIsKnownByItsCertificate) {
  const TestServer server(Unchecked(Files("coordinator")), "demo");
  EXPECT_EQ(Call(server.address(), MakeChannelCredentials(ReadUnchecked(Files("site-berlin")))).value(), "spiffe://demo/site/berlin");
}

TEST_F(TlsTest, MetadataDoesNotOverrideTheCertificate) {
  const TestServer server(Unchecked(Files("coordinator")), "demo");
  EXPECT_EQ(Call(server.address(), MakeChannelCredentials(ReadUnchecked(Files("site-berlin"))), {"spiffe://demo/operator/ada"}).value(),
            "spiffe://demo/site/berlin");
}

TEST_F(TlsTest, AClientWithoutACertificateIsRefused) {
  const TestServer server(Unchecked(Files("coordinator")), "demo");
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = ReadFile(directory_.File("ca.crt"), 10000).value();
  EXPECT_EQ(Call(server.address(), grpc::SslCredentials(options)).status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(TlsTest, AClientOfAnotherCaIsRefused) {
  const TestServer server(Unchecked(Files("coordinator")), "demo");
  ASSERT_TRUE(InitCa(directory_.File("other"), "demo", absl::Hours(24)).ok());
  ASSERT_TRUE(IssueCertificate(directory_.File("other"), {.identity = kBerlin, .hosts = {}}).ok());
  TlsFiles files = Files("site-berlin", "other");
  files.ca = directory_.File("ca.crt");  // it trusts the server; the server must not trust it
  EXPECT_EQ(Call(server.address(), MakeChannelCredentials(ReadUnchecked(files))).status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(TlsTest, AnExpiredClientIsRefused) {
  const TestServer server(Unchecked(Files("coordinator")), "demo");
  Issue({.identity = kBerlin, .hosts = {}, .validity = -absl::Hours(1)});
  EXPECT_EQ(Call(server.address(), MakeChannelCredentials(ReadUnchecked(Files("site-berlin")))).status().code(),
            absl::StatusCode::kUnavailable);
}

TEST_F(TlsTest, AClientOfAnotherFederationIsRefused) {
  const TestServer server(Unchecked(Files("coordinator")), "elsewhere");
  const absl::Status status = Call(server.address(), MakeChannelCredentials(ReadUnchecked(Files("site-berlin")))).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnauthenticated);
  EXPECT_EQ(status.message(), "spiffe://demo/site/berlin does not belong to federation elsewhere");
}

TEST_F(TlsTest, AServerOfAnotherCaIsRefused) {
  ASSERT_TRUE(InitCa(directory_.File("other"), "demo", absl::Hours(24)).ok());
  ASSERT_TRUE(IssueCertificate(directory_.File("other"), {.identity = kCoordinator, .hosts = {"127.0.0.1"}}).ok());
  const TestServer server(Unchecked(Files("coordinator", "other")), "demo");
  EXPECT_EQ(Call(server.address(), MakeChannelCredentials(ReadUnchecked(Files("site-berlin")))).status().code(),
            absl::StatusCode::kUnavailable);
}

TEST_F(TlsTest, AServerOfAnotherNameIsRefused) {
  Issue({.identity = kCoordinator, .hosts = {"coordinator.example.org", "127.0.0.2"}});
  const TestServer server(Unchecked(Files("coordinator")), "demo");
  EXPECT_EQ(Call(server.address(), MakeChannelCredentials(ReadUnchecked(Files("site-berlin")))).status().code(),
            absl::StatusCode::kUnavailable);
}

TEST_F(TlsTest, ASiteCannotPoseAsTheCoordinator) {
  Issue({.identity = {"demo", Role::kSite, "mallory"}, .hosts = {"127.0.0.1"}});
  const TestServer server(Unchecked(Files("site-mallory")), "demo");
  EXPECT_EQ(Call(server.address(), MakeChannelCredentials(ReadUnchecked(Files("site-berlin")))).status().code(),
            absl::StatusCode::kUnavailable);
}

TEST_F(TlsTest, TheCoordinatorOfAnotherFederationIsRefused) {
  // Its CA is trusted and its host name is right; only its SPIFFE id is of another federation than the client's own.
  ASSERT_TRUE(InitCa(directory_.File("other"), "other", absl::Hours(24)).ok());
  ASSERT_TRUE(IssueCertificate(directory_.File("other"), {.identity = {"other", Role::kSite, "berlin"}, .hosts = {}}).ok());
  const TestServer server(Unchecked(Files("coordinator")), "demo");
  TlsFiles files = Files("site-berlin", "other");
  files.ca = directory_.File("ca.crt");
  const absl::Status status = Call(server.address(), MakeChannelCredentials(ReadUnchecked(files))).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("the server is not spiffe://other/coordinator"));
}

TEST_F(TlsTest, OnlyTls13IsSpoken) {
  const TestServer server(Unchecked(Files("coordinator")), "demo");
  EXPECT_TRUE(Handshake(server.address(), Files("site-berlin"), TLS1_3_VERSION).ok());
  EXPECT_FALSE(Handshake(server.address(), Files("site-berlin"), TLS1_2_VERSION).ok());
}

TEST_F(TlsTest, ARenewedCertificateIsServedWithoutARestart) {
  const auto files = CertificateFiles::Open(Files("coordinator"), kCoordinator).value();
  const TestServer server([files] { return files->current(); }, "demo");
  const std::string before = Handshake(server.address(), Files("site-berlin"), TLS1_3_VERSION).value();
  Issue({.identity = kCoordinator, .hosts = {"127.0.0.1"}});
  EXPECT_EQ(Handshake(server.address(), Files("site-berlin"), TLS1_3_VERSION).value(), before) << "it was not looked at yet";
  EXPECT_TRUE(files->Refresh().value());
  EXPECT_NE(Handshake(server.address(), Files("site-berlin"), TLS1_3_VERSION).value(), before);
}

TEST_F(TlsTest, AServerOutlivesFilesThatAreEmptyHalfWrittenOrMismatched) {
  const auto files = CertificateFiles::Open(Files("coordinator"), kCoordinator).value();
  const TestServer server([files] { return files->current(); }, "demo");
  const std::string before = Handshake(server.address(), Files("site-berlin"), TLS1_3_VERSION).value();
  const std::string certificate = ReadFile(Files("coordinator").certificate, 10000).value();
  for (const std::string& moment : {std::string(), certificate.substr(0, certificate.size() / 2), certificate.substr(0, 20)}) {
    directory_.Write("coordinator.crt", moment);
    EXPECT_FALSE(files->Refresh().ok());
    EXPECT_EQ(Handshake(server.address(), Files("site-berlin"), TLS1_3_VERSION).value(), before);
  }
  directory_.Write("coordinator.crt", certificate);
  directory_.Write("coordinator.key", ReadFile(Files("site-berlin").key, 10000).value());
  EXPECT_FALSE(files->Refresh().ok());
  EXPECT_EQ(Handshake(server.address(), Files("site-berlin"), TLS1_3_VERSION).value(), before);
}

TEST_F(TlsTest, ARefusalOfTheServersCertificateSaysWhatItIs) {
  ASSERT_TRUE(InitCa(directory_.File("other"), "demo", absl::Hours(24)).ok());
  ASSERT_TRUE(IssueCertificate(directory_.File("other"), {.identity = kCoordinator, .hosts = {"portal.example.org", "127.0.0.1"}}).ok());
  const TestServer server(Unchecked(Files("coordinator", "other")), "demo");
  const CertificatePair own = LoadCertificatePair(Files("site-berlin"), kBerlin).value();
  const absl::Status status =
      ExplainTlsFailure(Call(server.address(), MakeChannelCredentials(own)).status(), server.address(), Route(), own);
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kCredentials);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("the server's certificate is not trusted here"), HasSubstr("It presents 'CN=coordinator,O=demo'"),
                    HasSubstr("DNS:portal.example.org"), HasSubstr("issued by 'CN=demo CA,O=demo'"), HasSubstr("valid until")));
}

TEST_F(TlsTest, ARefusalByNameSaysWhichNamesThereAre) {
  Issue({.identity = kCoordinator, .hosts = {"coordinator.example.org"}});
  const TestServer server(Unchecked(Files("coordinator")), "demo");
  const CertificatePair own = LoadCertificatePair(Files("site-berlin"), kBerlin).value();
  const absl::Status status =
      ExplainTlsFailure(Call(server.address(), MakeChannelCredentials(own)).status(), server.address(), Route(), own);
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kCredentials);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("does not name 127.0.0.1"), HasSubstr("DNS:coordinator.example.org")));
}

TEST_F(TlsTest, ARefusalOfTheOwnCertificateSaysWhichItIs) {
  const CertificatePair own = LoadCertificatePair(Files("site-berlin"), kBerlin).value();
  const absl::Status status =
      ExplainTlsFailure(absl::UnavailableError("Ssl handshake failed: TLSV1_ALERT_UNKNOWN_CA"), "127.0.0.1:1", Route(), own);
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kCredentials);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("the coordinator does not trust the CA of the certificate used here"),
                                                   HasSubstr("Refused is 'CN=berlin,O=demo' for URI:spiffe://demo/site/berlin")));
}

TEST_F(TlsTest, WhoeverAnswersWithoutTlsPresentsNoCertificate) {
  const TestServer server(nullptr, "demo");
  EXPECT_EQ(AskForCertificate(server.address(), Route(), "", absl::Seconds(1)).status().code(), absl::StatusCode::kUnavailable);
}

TEST(PlaintextTest, BelievesTheClaimWhenTheServerItselfIsInsecure) {
  const TestServer server(nullptr, "demo");
  EXPECT_EQ(Call(server.address(), MakeInsecureChannelCredentials(), {"spiffe://demo/site/berlin"}).value(), "spiffe://demo/site/berlin");
}

TEST(PlaintextTest, NeedsExactlyOneClaim) {
  const TestServer server(nullptr, "demo");
  EXPECT_EQ(Call(server.address(), MakeInsecureChannelCredentials()).status().code(), absl::StatusCode::kUnauthenticated);
  EXPECT_EQ(Call(server.address(), MakeInsecureChannelCredentials(), {"spiffe://demo/site/a", "spiffe://demo/site/b"}).status().code(),
            absl::StatusCode::kUnauthenticated);
  EXPECT_EQ(Call(server.address(), MakeInsecureChannelCredentials(), {"admin"}).status().code(), absl::StatusCode::kUnauthenticated);
}

TEST(ExplainTlsFailureTest, OnlyACertificateThatIsRefusedIsForGood) {
  const auto explain = [](absl::string_view error) {
    return ExplainTlsFailure(
        absl::UnavailableError(absl::StrCat("failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: ", error)), "",
        Route(), CertificatePair());
  };
  EXPECT_EQ(
      ExitCodeOf(explain("Ssl handshake failed: SSL_ERROR_SSL: error:1000007d:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED")),
      ExitCode::kCredentials);
  for (const absl::string_view error : {"Ssl handshake failed: SSL_ERROR_SSL: something new", "Handshake read failed"}) {
    const absl::Status status = explain(error);
    EXPECT_EQ(ExitCodeOf(status), ExitCode::kUnreachable) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("check that both sides use the CA"));
  }
}

TEST(ExplainTlsFailureTest, AHostsNameIsNoReason) {
  const absl::Status status = absl::UnavailableError(
      "DNS resolution failed for handshake.example.org:8443: C-ares status is not ARES_SUCCESS: Domain name not found");
  EXPECT_EQ(ExplainTlsFailure(status, "handshake.example.org:8443", Route(), CertificatePair()), status);
}

}  // namespace
}  // namespace tributary
