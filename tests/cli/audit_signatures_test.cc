#include "cli/audit_signatures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/certificate_files.h"
#include "common/checksum.h"
#include "common/clock.h"
#include "common/exit_codes.h"
#include "common/files.h"
#include "common/pki.h"
#include "common/signed_text.h"
#include "proto/audit/signed_update.h"
#include "tests/common/test_folder.h"

namespace tributary::cli {
namespace {

using ::testing::HasSubstr;

class AuditSignaturesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(InitCa(folder_.path(), "demo", absl::Hours(240)).ok());
    ASSERT_TRUE(IssueCertificate(folder_.path(), {.identity = {"demo", Role::kSite, "berlin"}, .hosts = {}}).ok());
    pair_ =
        LoadCertificatePair({folder_.File("ca.crt"), folder_.File("site-berlin.crt"), folder_.File("site-berlin.key")}, berlin_).value();
    chain_ = SignText("", pair_).value().certificates;
  }
  v1::AuditRecord Certificate(const std::string& site = "berlin") const {
    v1::AuditRecord record;
    record.set_unix_ms(absl::ToUnixMillis(now_));
    record.mutable_site_certificate()->set_site(site);
    *record.mutable_site_certificate()->mutable_certificates() = {chain_.begin(), chain_.end()};
    return record;
  }
  v1::AuditRecord::SignedUpdate Claim(uint64_t round, const std::string& digest) const {
    v1::UpdateSignature signature;
    EXPECT_TRUE(SignUpdate({"demo", "berlin", "run", round, "base", digest, round}, pair_, signature).ok());
    v1::AuditRecord::SignedUpdate claim;
    claim.set_base_state_hash("base");
    claim.set_sequence(signature.sequence());
    claim.set_signature(signature.signature());
    claim.set_certificate_sha256(DigestBytes(Sha256(chain_[0])));
    return claim;
  }
  v1::AuditRecord Update(uint64_t round) const {
    v1::AuditRecord record;
    record.set_unix_ms(absl::ToUnixMillis(now_));
    v1::AuditRecord::AcceptedUpdate& update = *record.mutable_accepted_update();
    update.set_site("berlin");
    update.set_run_id("run");
    update.set_round(round);
    update.set_payload_sha256("digest");
    *update.mutable_claim() = Claim(round, "digest");
    return record;
  }

  const TestFolder folder_;
  const Identity berlin_{"demo", Role::kSite, "berlin"};
  const absl::Time now_ = Clock::Real().WallNow();
  CertificatePair pair_;
  std::vector<std::string> chain_;
};

TEST_F(AuditSignaturesTest, TheCaIsEnoughToTellWhoseUpdatesTheyAre) {
  AuditSignatures signatures("demo", pair_.ca);
  v1::AuditRecord by_nobody = Update(3);
  by_nobody.mutable_accepted_update()->clear_claim();
  for (const v1::AuditRecord& record : {Certificate(), Update(1), Update(2), by_nobody}) {
    EXPECT_EQ(signatures.Check(record), absl::OkStatus());
  }
  EXPECT_EQ(signatures.good(), 2u);
  EXPECT_EQ(signatures.without(), 1u);
}

TEST_F(AuditSignaturesTest, AnUpdateThatTheSiteDidNotSignIsFound) {
  AuditSignatures signatures("demo", pair_.ca);
  ASSERT_TRUE(signatures.Check(Certificate()).ok());
  v1::AuditRecord altered = Update(1);
  altered.mutable_accepted_update()->set_payload_sha256("another digest");
  const absl::Status status = signatures.Check(altered);
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kCredentials);
  EXPECT_THAT(std::string(status.message()), HasSubstr("the update of site berlin in round 1 of run run"));
}

TEST_F(AuditSignaturesTest, ACertificateCountsForItsSiteAloneAndOnlyIfTheCaAcceptsIt) {
  EXPECT_FALSE(AuditSignatures("demo", pair_.ca).Check(Certificate("paris")).ok());
  const TestFolder other;
  ASSERT_TRUE(InitCa(other.path(), "demo", absl::Hours(240)).ok());
  EXPECT_FALSE(AuditSignatures("demo", ReadFile(other.File("ca.crt"), 10000).value()).Check(Certificate()).ok());
  EXPECT_FALSE(AuditSignatures("demo", pair_.ca).Check(Update(1)).ok()) << "no certificate is in the log before it";
}

TEST_F(AuditSignaturesTest, WhatWasTakenBeforeACertificateEndedMayBeRecordedSoonAfter) {
  AuditSignatures signatures("demo", pair_.ca);
  v1::AuditRecord certificate = Certificate();
  v1::AuditRecord update = Update(1);
  certificate.set_unix_ms(absl::ToUnixMillis(pair_.validity.end + absl::Minutes(1)));
  update.set_unix_ms(certificate.unix_ms());
  EXPECT_EQ(signatures.Check(certificate), absl::OkStatus());
  EXPECT_EQ(signatures.Check(update), absl::OkStatus());
  update.set_unix_ms(absl::ToUnixMillis(pair_.validity.end + absl::Hours(1)));
  EXPECT_FALSE(signatures.Check(update).ok());
}

TEST_F(AuditSignaturesTest, TwoUpdatesOfOneRoundWithTheSitesSignatureAreTold) {
  AuditSignatures signatures("demo", pair_.ca);
  ASSERT_TRUE(signatures.Check(Certificate()).ok());
  v1::AuditRecord second;
  second.set_unix_ms(absl::ToUnixMillis(now_));
  second.mutable_site_event()->set_site("berlin");
  second.mutable_site_event()->set_kind("conflicting");
  second.mutable_site_event()->set_run_id("run");
  second.mutable_site_event()->set_round(1);
  *second.mutable_site_event()->mutable_claim() = Claim(1, "another");
  second.mutable_site_event()->mutable_claim()->set_payload_sha256("another");
  EXPECT_EQ(signatures.Check(second), absl::OkStatus());
  EXPECT_EQ(signatures.conflicting(), 1u);
}

TEST_F(AuditSignaturesTest, AProofComesWithTheCertificatesThatItNeeds) {
  const std::vector<std::string> records = {Certificate().SerializeAsString(), Update(1).SerializeAsString()};
  EXPECT_EQ(CertificatesFor(records, 1), chain_);
  EXPECT_TRUE(CertificatesFor(records, 0).empty());
}

}  // namespace
}  // namespace tributary::cli
