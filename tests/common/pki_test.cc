#include "common/pki.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "common/certificate_files.h"
#include "common/clock.h"
#include "common/exit_codes.h"
#include "common/files.h"
#include "tests/common/test_folder.h"

namespace tributary {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

const Identity kCoordinator{"demo", Role::kCoordinator, ""};
const Identity kBerlin{"demo", Role::kSite, "berlin"};
const Identity kAda{"demo", Role::kOperator, "ada"};

class PkiTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(InitCa(directory_.path(), "demo", absl::Hours(24 * 365)).ok());
    Issue({.identity = kBerlin, .hosts = {}});
  }

  void Issue(const CertificateRequest& request) {
    const absl::Status status = IssueCertificate(directory_.path(), request);
    ASSERT_TRUE(status.ok()) << status;
  }

  TlsFiles Files(const std::string& stem) const {
    return {directory_.File("ca.crt"), directory_.File(stem + ".crt"), directory_.File(stem + ".key")};
  }

  // The message of a check that must fail for reasons of credentials.
  static std::string Refusal(const TlsFiles& files, const Identity& expected = kBerlin) {
    const absl::Status status = LoadCertificatePair(files, expected).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnauthenticated);
    EXPECT_EQ(ExitCodeOf(status), ExitCode::kCredentials);
    return std::string(status.message());
  }

  const TestFolder directory_;
};

TEST_F(PkiTest, IssuesFilesThatPassTheCheckForTheirIdentity) {
  Issue({.identity = kCoordinator, .hosts = {"localhost", "127.0.0.1", "::1"}});
  Issue({.identity = kAda, .hosts = {}});
  EXPECT_EQ(LoadCertificatePair(Files("site-berlin"), kBerlin).status(), absl::OkStatus());
  EXPECT_EQ(LoadCertificatePair(Files("coordinator"), kCoordinator).status(), absl::OkStatus());
  EXPECT_EQ(LoadCertificatePair(Files("operator-ada"), kAda).status(), absl::OkStatus());
}

TEST_F(PkiTest, AKeyThatEverybodyCanReadIsNoticed) {
  EXPECT_EQ(KeyExposure(Files("site-berlin").key), "");
  std::filesystem::permissions(Files("site-berlin").key, std::filesystem::perms(0440));
  EXPECT_EQ(KeyExposure(Files("site-berlin").key), "") << "as secrets are mounted";
  std::filesystem::permissions(Files("site-berlin").key, std::filesystem::perms(0644));
  EXPECT_THAT(KeyExposure(Files("site-berlin").key), HasSubstr("chmod 600"));
  EXPECT_EQ(KeyExposure(""), "");
}

TEST_F(PkiTest, CertificatesSayWhoAndHowLong) {
  const CertificateInfo info = ReadCertificate(directory_.File("site-berlin.crt")).value();
  EXPECT_EQ(info.spiffe_id, "spiffe://demo/site/berlin");
  EXPECT_EQ(info.subject, "CN=berlin,O=demo");
  const absl::Time now = Clock::Real().WallNow();
  EXPECT_LT(info.not_before, now);
  EXPECT_GT(info.not_after, now + absl::Hours(24 * 29));
  EXPECT_EQ(ReadCertificate(directory_.File("ca.crt"))->spiffe_id, "spiffe://demo");
}

TEST_F(PkiTest, KeysAreForTheirOwnerAlone) {
  for (const char* key : {"ca.key", "site-berlin.key"}) {
    struct stat info;
    ASSERT_EQ(stat(directory_.File(key).c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0600u) << key;
  }
}

TEST_F(PkiTest, ACaIsNeverOverwritten) {
  const std::string before = ReadFile(directory_.File("ca.key"), 10000).value();
  const absl::Status status = InitCa(directory_.path(), "demo", absl::Hours(1));
  EXPECT_EQ(status.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(ReadFile(directory_.File("ca.key"), 10000).value(), before);
}

TEST_F(PkiTest, RefusesNamesHostsAndFederationsThatCannotBe) {
  EXPECT_EQ(InitCa(directory_.File("other"), "De mo", absl::Hours(1)).code(), absl::StatusCode::kInvalidArgument);
  const auto code = [&](const CertificateRequest& request) { return IssueCertificate(directory_.path(), request).code(); };
  EXPECT_EQ(code({.identity = {"demo", Role::kSite, "../x"}, .hosts = {}}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.identity = {"other", Role::kSite, "berlin"}, .hosts = {}}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.identity = kCoordinator, .hosts = {}}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.identity = kCoordinator, .hosts = {"a,URI:spiffe://demo/operator/ada"}}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.identity = kCoordinator, .hosts = {"host:8443"}}), absl::StatusCode::kInvalidArgument);
}

TEST_F(PkiTest, ALeafDoesNotOutliveItsCa) {
  Issue({.identity = kBerlin, .hosts = {}, .validity = absl::Hours(24 * 5000)});
  EXPECT_EQ(ReadCertificate(directory_.File("site-berlin.crt"))->not_after, ReadCertificate(directory_.File("ca.crt"))->not_after);
}

TEST_F(PkiTest, AMissingFileIsNamed) {
  TlsFiles files = Files("site-berlin");
  files.key = directory_.File("absent.key");
  EXPECT_EQ(Refusal(files), "cannot read " + files.key + ": No such file or directory; check the path");
}

TEST_F(PkiTest, AFileThatIsNoPemIsNamed) {
  TlsFiles files = Files("site-berlin");
  std::swap(files.certificate, files.key);
  EXPECT_THAT(Refusal(files), HasSubstr("site-berlin.key is not a PEM certificate"));
  files = Files("site-berlin");
  files.key = files.ca;
  EXPECT_THAT(Refusal(files), HasSubstr("ca.crt is not a PEM private key"));
}

TEST_F(PkiTest, ADamagedCertificateIsNamed) {
  std::string pem = ReadFile(directory_.File("site-berlin.crt"), 10000).value();
  ASSERT_TRUE(WriteFileAtomically(directory_.File("site-berlin.crt"), pem + pem.substr(0, pem.size() / 2)).ok());
  EXPECT_THAT(Refusal(Files("site-berlin")), HasSubstr("damaged"));
}

TEST_F(PkiTest, AKeyOfAnotherCertificateIsRefused) {
  Issue({.identity = kAda, .hosts = {}});
  TlsFiles files = Files("site-berlin");
  files.key = directory_.File("operator-ada.key");
  EXPECT_THAT(Refusal(files), HasSubstr("does not match"));
}

TEST_F(PkiTest, AnExpiredCertificateSaysSinceWhenAndWhatToDo) {
  Issue({.identity = kBerlin, .hosts = {}, .validity = -absl::Hours(1)});
  const std::string message = Refusal(Files("site-berlin"));
  EXPECT_THAT(message, StartsWith(directory_.File("site-berlin.crt") + " expired on 2"));
  EXPECT_THAT(message, HasSubstr("issue a new one: tributary pki issue DIR --site berlin"));
}

TEST_F(PkiTest, ACertificateFromTheFuturePointsAtTheClock) {
  Issue({.identity = kBerlin, .hosts = {}, .backdate = -absl::Hours(2)});
  EXPECT_THAT(Refusal(Files("site-berlin")), HasSubstr("check the clock"));
}

TEST_F(PkiTest, ACertificateOfAnotherCaIsRefused) {
  ASSERT_TRUE(InitCa(directory_.File("other"), "demo", absl::Hours(24)).ok());
  TlsFiles files = Files("site-berlin");
  files.ca = directory_.File("other/ca.crt");
  EXPECT_THAT(Refusal(files), HasSubstr("is not signed by the CA in " + files.ca));
}

TEST_F(PkiTest, AnotherIdentityIsRefused) {
  const Identity paris{"demo", Role::kSite, "paris"};
  EXPECT_THAT(Refusal(Files("site-berlin"), paris), HasSubstr("names spiffe://demo/site/berlin, but spiffe://demo/site/paris is needed"));
}

TEST_F(PkiTest, ASitesCertificateDoesNotServe) {
  EXPECT_THAT(Refusal(Files("site-berlin"), kCoordinator), HasSubstr("may not be used as a TLS server"));
}

TEST_F(PkiTest, AnExpiredCaIssuesNothing) {
  const std::string expired = directory_.File("expired");
  ASSERT_TRUE(InitCa(expired, "demo", -absl::Minutes(1)).ok());
  EXPECT_THAT(std::string(IssueCertificate(expired, {.identity = kBerlin, .hosts = {}}).message()), HasSubstr("expired on"));
}

TEST(SpiffeIdTest, ParsesExactlyFourForms) {
  for (const char* uri :
       {"spiffe://demo/coordinator", "spiffe://demo/site/berlin", "spiffe://demo/operator/ada", "spiffe://demo/auditor/eva"}) {
    const auto identity = ParseSpiffeId(uri);
    ASSERT_TRUE(identity.ok()) << identity.status();
    EXPECT_EQ(SpiffeId(*identity), uri);
  }
  for (const char* uri :
       {"", "spiffe://", "spiffe://demo", "spiffe://demo/", "spiffe://demo/site", "spiffe://demo/site/", "spiffe://demo/site/a/b",
        "spiffe://demo/site/A", "spiffe://demo/coordinator/", "spiffe:///site/a", "http://demo/site/a", "spiffe://demo/ns/x"}) {
    EXPECT_EQ(ParseSpiffeId(uri).status().code(), absl::StatusCode::kInvalidArgument) << uri;
  }
}

TEST(InsecureAddressTest, OnlyLoopbackIsAllowed) {
  for (const char* loopback : {"127.0.0.1:1", "127.5.4.3:80", "localhost:0", "[::1]:80"}) {
    EXPECT_TRUE(CheckInsecureAddress(loopback).ok()) << loopback;
  }
  for (const char* other :
       {"0.0.0.0:1", "10.0.0.1:1", "[::]:80", "example.org:443", "127.0.0.1.example.org:1", "localhost.example.org:1", ":80", ""}) {
    const absl::Status status = CheckInsecureAddress(other);
    EXPECT_EQ(ExitCodeOf(status), ExitCode::kUsage) << other;
    EXPECT_THAT(std::string(status.message()), HasSubstr("--insecure-anywhere")) << other;
  }
}

TEST_F(PkiTest, AcceptsTheHostNamesThatTlsMatches) {
  for (const char* const host : {"a_b.example.org", "_service", "*.example.org", "*.a-b.example.org", "xn--bcher-kva.example", "LOCALHOST",
                                 "192.0.2.1", "[2001:db8::1]"}) {
    EXPECT_EQ(IssueCertificate(directory_.path(), {.identity = kCoordinator, .hosts = {host}}), absl::OkStatus()) << host;
  }
}

TEST_F(PkiTest, RefusesOtherHostNamesWithWhatWasMeant) {
  const std::pair<const char*, const char*> cases[] = {
      {"https://host.example.org:8443/x", "give its host alone: host.example.org"},
      {"host:8443", "give no port: host"},
      {"host.example.org.", "give host.example.org"},
      {"*", "top-level domain"},
      {"*.org", "top-level domain"},
      {"a*.example.org", "not its whole first part"},
      {"a.*.example.org", "not its whole first part"},
      {"*.*.example.org", "not its whole first part"},
      {"a..b", "1 to 63 letters"},
      {"-a.example.org", "1 to 63 letters"},
      {"a b", "1 to 63 letters"},
      {"b\xc3\xbc"
       "cher.example",
       "xn--"},
      {"", "no DNS name"},
  };
  for (const auto& [host, meant] : cases) {
    const absl::Status status = IssueCertificate(directory_.path(), {.identity = kCoordinator, .hosts = {host}});
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << host;
    EXPECT_THAT(std::string(status.message()), HasSubstr(meant)) << host;
  }
}

}  // namespace
}  // namespace tributary
