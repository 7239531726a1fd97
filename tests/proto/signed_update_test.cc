#include "proto/audit/signed_update.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "common/certificate_files.h"
#include "common/checksum.h"
#include "common/pki.h"
#include "common/signed_text.h"
#include "tests/common/test_folder.h"

namespace tributary {
namespace {

using Standing = UpdateProof::Standing;

class SignedUpdateTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(InitCa(folder_.path(), "demo", absl::Hours(240)).ok());
    for (const char* const site : {"berlin", "paris"}) {
      ASSERT_TRUE(IssueCertificate(folder_.path(), {.identity = {"demo", Role::kSite, site}, .hosts = {}}).ok());
    }
  }
  CertificatePair PairOf(const std::string& site) const {
    const std::string stem = "site-" + site;
    return LoadCertificatePair({folder_.File("ca.crt"), folder_.File(stem + ".crt"), folder_.File(stem + ".key")},
                               {"demo", Role::kSite, site})
        .value();
  }
  Certificates ChainOf(const std::string& site) const {
    return std::make_shared<const std::vector<std::string>>(SignText("", PairOf(site)).value().certificates);
  }

  const TestFolder folder_;
  const UpdateClaim claim_ = {.federation = "demo",
                              .site = "berlin",
                              .run_id = "digits-1a2b",
                              .round = 7,
                              .base_state_hash = DigestBytes(Sha256("state 6")),
                              .payload_sha256 = DigestBytes(Sha256("payload")),
                              .sequence = 5};
};

TEST_F(SignedUpdateTest, TheTextNamesAllThatIsVouchedFor) {
  EXPECT_EQ(UpdateText({"demo", "berlin", "digits-1a2b", 7, "\x01\xab", "\xff", 5}),
            "tributary update v1\ndemo\nberlin\ndigits-1a2b\n7\n01ab\nff\n5\n");
}

TEST_F(SignedUpdateTest, TheKeyOfTheSiteMakesAGoodSignature) {
  v1::UpdateSignature signature;
  ASSERT_TRUE(SignUpdate(claim_, PairOf("berlin"), signature).ok());
  const UpdateProof proof = CheckUpdate(claim_, signature, ChainOf("berlin"));
  EXPECT_EQ(proof.standing, Standing::kGood);
  EXPECT_EQ(proof.sequence, 5u);
  EXPECT_EQ(proof.payload_sha256, claim_.payload_sha256);
  EXPECT_EQ(proof.signature, signature.signature());
}

TEST_F(SignedUpdateTest, TheKeyOfAnotherSiteDoesNot) {
  v1::UpdateSignature signature;
  ASSERT_TRUE(SignUpdate(claim_, PairOf("paris"), signature).ok());
  EXPECT_EQ(CheckUpdate(claim_, signature, ChainOf("berlin")).standing, Standing::kBad);
}

TEST_F(SignedUpdateTest, WhatWasSignedForOneThingIsNoGoodForAnother) {
  v1::UpdateSignature signature;
  ASSERT_TRUE(SignUpdate(claim_, PairOf("berlin"), signature).ok());
  const std::function<void(UpdateClaim&)> changes[] = {
      [](UpdateClaim& claim) { claim.federation = "other"; },    [](UpdateClaim& claim) { claim.site = "paris"; },
      [](UpdateClaim& claim) { claim.run_id = "digits-9"; },     [](UpdateClaim& claim) { claim.round = 8; },
      [](UpdateClaim& claim) { claim.base_state_hash[0] ^= 1; }, [](UpdateClaim& claim) { claim.payload_sha256[0] ^= 1; },
  };
  for (const auto& change : changes) {
    UpdateClaim other = claim_;
    change(other);
    EXPECT_EQ(CheckUpdate(other, signature, ChainOf("berlin")).standing, Standing::kBad) << UpdateText(other);
  }
  signature.set_sequence(6);
  EXPECT_EQ(CheckUpdate(claim_, signature, ChainOf("berlin")).standing, Standing::kBad);
}

TEST_F(SignedUpdateTest, RubbishIsNoSignature) {
  v1::UpdateSignature signature;
  EXPECT_EQ(CheckUpdate(claim_, signature, ChainOf("berlin")).standing, Standing::kBad);
  signature.set_signature(std::string(100, 'x'));
  EXPECT_EQ(CheckUpdate(claim_, signature, ChainOf("berlin")).standing, Standing::kBad);
  EXPECT_EQ(CheckUpdate(claim_, signature, nullptr).standing, Standing::kBad);
}

}  // namespace
}  // namespace tributary
