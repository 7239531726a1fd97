#include "common/signed_text.h"

#include <gtest/gtest.h>

#include <string>

#include "common/certificate_files.h"
#include "common/clock.h"
#include "common/exit_codes.h"
#include "common/files.h"
#include "common/pki.h"
#include "tests/common/test_folder.h"

namespace tributary {
namespace {

const Identity kCoordinator{"demo", Role::kCoordinator, ""};
const Identity kBerlin{"demo", Role::kSite, "berlin"};
constexpr char kText[] = "a statement v1\nof something\n";

class SignedTextTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(InitCa(folder_.path(), "demo", absl::Hours(240)).ok());
    ASSERT_TRUE(IssueCertificate(folder_.path(), {.identity = kCoordinator, .hosts = {"localhost"}}).ok());
    ASSERT_TRUE(IssueCertificate(folder_.path(), {.identity = kBerlin, .hosts = {}}).ok());
  }
  CertificatePair Load(const std::string& stem, const Identity& owner) const {
    return LoadCertificatePair({folder_.File("ca.crt"), folder_.File(stem + ".crt"), folder_.File(stem + ".key")}, owner).value();
  }

  const TestFolder folder_;
  const absl::Time now_ = Clock::Real().WallNow();
};

TEST_F(SignedTextTest, TheCaIsEnoughToCheckWhoSigned) {
  const CertificatePair pair = Load("coordinator", kCoordinator);
  const TextSignature signature = SignText(kText, pair).value();
  EXPECT_EQ(VerifyText(kText, signature, pair.ca, kCoordinator, now_), absl::OkStatus());
}

TEST_F(SignedTextTest, AnotherTextIsNotTheOneSigned) {
  const CertificatePair pair = Load("coordinator", kCoordinator);
  const TextSignature signature = SignText(kText, pair).value();
  const absl::Status status = VerifyText("a statement v1\nof nothing\n", signature, pair.ca, kCoordinator, now_);
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kCredentials) << status;
}

TEST_F(SignedTextTest, AnotherIdentityOfTheSameCaIsNotTheSigner) {
  const CertificatePair pair = Load("site-berlin", kBerlin);
  const TextSignature signature = SignText(kText, pair).value();
  EXPECT_EQ(VerifyText(kText, signature, pair.ca, kBerlin, now_), absl::OkStatus());
  EXPECT_FALSE(VerifyText(kText, signature, pair.ca, kCoordinator, now_).ok());
  EXPECT_FALSE(VerifyText(kText, signature, pair.ca, {"demo", Role::kSite, "paris"}, now_).ok());
}

TEST_F(SignedTextTest, AnotherCaDoesNotVouchForTheSigner) {
  const TestFolder other;
  ASSERT_TRUE(InitCa(other.path(), "demo", absl::Hours(240)).ok());
  const CertificatePair pair = Load("coordinator", kCoordinator);
  const TextSignature signature = SignText(kText, pair).value();
  EXPECT_FALSE(VerifyText(kText, signature, ReadFile(other.File("ca.crt"), 10000).value(), kCoordinator, now_).ok());
}

TEST_F(SignedTextTest, TheCertificateCountsAtTheTimeOfSigningAlone) {
  const CertificatePair pair = Load("coordinator", kCoordinator);
  const TextSignature signature = SignText(kText, pair).value();
  EXPECT_FALSE(VerifyText(kText, signature, pair.ca, kCoordinator, now_ - absl::Hours(2)).ok()) << "it was not issued yet";
  EXPECT_FALSE(VerifyText(kText, signature, pair.ca, kCoordinator, now_ + absl::Hours(24 * 31)).ok()) << "it had expired";
}

TEST_F(SignedTextTest, WithoutACertificateOrWithRubbishThereIsNoSigner) {
  const CertificatePair pair = Load("coordinator", kCoordinator);
  TextSignature signature = SignText(kText, pair).value();
  signature.certificates = {};
  EXPECT_FALSE(VerifyText(kText, signature, pair.ca, kCoordinator, now_).ok());
  signature.certificates = {std::string(100, 'x')};
  EXPECT_FALSE(VerifyText(kText, signature, pair.ca, kCoordinator, now_).ok());
}

}  // namespace
}  // namespace tributary
