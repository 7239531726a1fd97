#include "worker/certificate_renewal.h"

#include <memory>
#include <string>

#include "common/exit_codes.h"
#include "common/files.h"
#include "common/pki.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/test_folder.h"

namespace tributary::worker {
namespace {

const Identity kBerlin{"demo", Role::kSite, "berlin"};

TEST(RenewalTime, IsAfterTwoThirdsOrALittleLater) {
  const Validity validity = {absl::UnixEpoch(), absl::UnixEpoch() + absl::Hours(12)};
  EXPECT_EQ(RenewalTime(validity, 0), absl::UnixEpoch() + absl::Hours(8));
  EXPECT_EQ(RenewalTime(validity, 0.5), absl::UnixEpoch() + absl::Hours(8) + absl::Minutes(30));
}

class RenewCertificateTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(InitCa(directory_.path(), "demo", absl::Hours(24 * 365)).ok());
    ASSERT_TRUE(IssueCertificate(directory_.path(), {.identity = kBerlin, .hosts = {}, .validity = absl::Hours(1)}).ok());
    files_ =
        CertificateFiles::Open({directory_.File("ca.crt"), directory_.File("site-berlin.crt"), directory_.File("site-berlin.key")}, kBerlin)
            .value();
  }

  // What a coordinator does.
  absl::StatusOr<v1::IssuedCertificate> Issue(const std::string& csr, const Identity& identity) {
    const auto ca = CertificateAuthority::Load(directory_.File("ca.crt"), directory_.File("ca.key")).value();
    v1::IssuedCertificate issued;
    issued.set_certificate(ca->Sign(csr, {.identity = identity, .hosts = {}}).value());
    return issued;
  }

  const TestFolder directory_;
  std::shared_ptr<CertificateFiles> files_;
};

TEST_F(RenewCertificateTest, PutsTheNewCertificateInTheOldOnesPlaceAndKeepsTheKey) {
  const std::string key = ReadFile(directory_.File("site-berlin.key"), 10'000).value();
  const absl::Time before = files_->current()->validity.end;
  const absl::Status renewed =
      RenewCertificate(*files_, kBerlin, [this](const CertificatePair&, const std::string& csr) { return Issue(csr, kBerlin); });
  ASSERT_TRUE(renewed.ok()) << renewed;
  EXPECT_TRUE(files_->Refresh().value());
  EXPECT_GT(files_->current()->validity.end, before);
  EXPECT_EQ(ReadFile(directory_.File("site-berlin.key"), 10'000).value(), key);
}

TEST_F(RenewCertificateTest, ACertificateOfSomebodyElseChangesNothing) {
  const absl::Status renewed = RenewCertificate(*files_, kBerlin, [this](const CertificatePair&, const std::string& csr) {
    return Issue(csr, {"demo", Role::kSite, "paris"});
  });
  EXPECT_EQ(ExitCodeOf(renewed), ExitCode::kCredentials);
  EXPECT_FALSE(files_->Refresh().value());
}

TEST_F(RenewCertificateTest, ARefusalChangesNothing) {
  const absl::Status renewed = RenewCertificate(*files_, kBerlin, [](const CertificatePair&, const std::string&) {
    return absl::StatusOr<v1::IssuedCertificate>(absl::FailedPreconditionError("issues no certificates"));
  });
  EXPECT_EQ(renewed.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_FALSE(files_->Refresh().value());
}

}  // namespace
}  // namespace tributary::worker
