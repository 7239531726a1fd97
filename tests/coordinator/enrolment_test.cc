#include "coordinator/enrolment.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/csr.h"
#include "common/enrolment_token.h"
#include "common/exit_codes.h"
#include "common/files.h"
#include "common/pinned_ca.h"
#include "common/pki.h"
#include "common/x509.h"
#include "coordinator/journal/open_journal.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/test_folder.h"
#include "tests/common/unchecked_certificates.h"

namespace tributary::coordinator {
namespace {

using ::testing::HasSubstr;

// A site's key, made where the site is.
struct Machine {
  std::string key = MakePrivateKey().value();

  v1::EnrolRequest Request(const std::string& token, const std::string& site = "") const {
    v1::EnrolRequest request;
    request.set_secret(ParseToken(token).value().secret);
    request.set_site(site);
    request.set_csr(MakeCsr(key, "test", {"demo", Role::kSite, "whoever"}).value());
    return request;
  }
};

class EnrolmentTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(InitCa(directory_.path(), "demo", absl::Hours(24 * 365)).ok());
    ASSERT_TRUE(IssueCertificate(directory_.path(), {.identity = {"demo", Role::kCoordinator, ""}, .hosts = {"127.0.0.1"}}).ok());
    config_.set_federation("demo");
    config_.mutable_enrolment()->set_ca_certificate(directory_.File("ca.crt"));
    config_.mutable_enrolment()->set_ca_key(directory_.File("ca.key"));
    config_.mutable_enrolment()->mutable_lifetime()->set_seconds(3600);
    Start();
  }

  // As a coordinator starts, with what the one before made durable.
  void Start(std::vector<std::string> configured = {}) {
    enrolment_.reset();
    registrar_.reset();
    journal_.reset();
    journal_ = OpenSqliteJournal(directory_.File("journal.db")).value();
    registry_ = std::make_unique<SiteRegistry>(configured);
    SiteRegistrar::Dependencies dependencies;
    dependencies.clock = &clock_;
    dependencies.journal = journal_.get();
    dependencies.registry = registry_.get();
    dependencies.approval = config_.enrolment().approval() == v1::EnrolmentConfig::REQUIRED ? Approval::kByAnother : Approval::kNone;
    dependencies.changed = [this] { ++changes_; };
    registrar_ = SiteRegistrar::Open(std::move(dependencies)).value();
    enrolment_ =
        Enrolment::Open(config_,
                        Unchecked({directory_.File("ca.crt"), directory_.File("coordinator.crt"), directory_.File("coordinator.key")}),
                        &clock_, registrar_.get())
            .value();
  }

  absl::StatusOr<v1::Site> Act(v1::ChangeSiteRequest::Act act, const std::string& who = "ada") {
    return registrar_->Change("berlin", act, {who, ""});
  }
  void Add(const std::string& who = "ada") { ASSERT_TRUE(Act(v1::ChangeSiteRequest::ADD, who).ok()); }
  std::string Token(const std::string& who = "ada") { return enrolment_->MakeToken("berlin", absl::Hours(1), {who, ""}).value().token(); }
  // The message of an enrolment that must be refused.
  std::string Refusal(const v1::EnrolRequest& request) {
    const absl::Status status = enrolment_->Enrol(request).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied) << status;
    return std::string(status.message());
  }

  const TestFolder directory_;
  SimulatedClock clock_{Clock::Real().WallNow()};
  v1::CoordinatorConfig config_;
  std::unique_ptr<Journal> journal_;
  std::unique_ptr<SiteRegistry> registry_;
  std::unique_ptr<SiteRegistrar> registrar_;
  std::unique_ptr<Enrolment> enrolment_;
  int changes_ = 0;
  const Machine machine_;
};

TEST_F(EnrolmentTest, ATokenIsGoodForACertificateOfItsSite) {
  Add();
  const absl::StatusOr<v1::EnrolResponse> answer = enrolment_->Enrol(machine_.Request(Token(), "berlin"));
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->site(), "berlin");
  const std::vector<X509Ptr> chain = ParseCertificates(answer->issued().certificate(), "test").value();
  EXPECT_THAT(UriNames(*chain[0]), ::testing::ElementsAre("spiffe://demo/site/berlin"));
  EXPECT_TRUE(CheckVouchedFor(answer->issued().certificate(), "it", answer->issued().ca()).ok());
}

TEST_F(EnrolmentTest, ATokenNamesTheCaThatVouchesForTheCoordinator) {
  Add();
  const CertificatePair own =
      ReadUnchecked({directory_.File("ca.crt"), directory_.File("coordinator.crt"), directory_.File("coordinator.key")});
  EXPECT_EQ(ParseToken(Token()).value().ca, AnchorFingerprint(own).value());
}

TEST_F(EnrolmentTest, ATokenIsGoodForOneKeyAndAnswersItAgain) {
  Add();
  const std::string token = Token();
  ASSERT_TRUE(enrolment_->Enrol(machine_.Request(token)).ok());
  EXPECT_THAT(Refusal(Machine().Request(token)), HasSubstr("was used already, with another key"));
  clock_.Advance(absl::Minutes(1));
  EXPECT_TRUE(enrolment_->Enrol(machine_.Request(token)).ok()) << "the first answer may have been lost";
}

TEST_F(EnrolmentTest, ATokenExpires) {
  Add();
  const std::string token = Token();
  clock_.Advance(absl::Hours(1));
  EXPECT_THAT(Refusal(machine_.Request(token)), HasSubstr("has expired"));
}

TEST_F(EnrolmentTest, ANewerTokenReplacesTheOneBefore) {
  Add();
  const std::string token = Token();
  Token();
  EXPECT_THAT(Refusal(machine_.Request(token)), HasSubstr("is not known here"));
}

TEST_F(EnrolmentTest, ATokenOfAnotherSiteIsRefusedAndStaysGood) {
  Add();
  const std::string token = Token();
  EXPECT_THAT(Refusal(machine_.Request(token, "paris")), HasSubstr("is for another site"));
  EXPECT_TRUE(enrolment_->Enrol(machine_.Request(token, "berlin")).ok());
}

TEST_F(EnrolmentTest, AGuessedTokenIsRefused) {
  Add();
  Token();
  EXPECT_THAT(Refusal(machine_.Request(FormatToken(MakeEnrolmentToken({}).value()))), HasSubstr("is not known here"));
}

TEST_F(EnrolmentTest, TheJournalDoesNotHoldTheToken) {
  Add();
  const std::string secret = ParseToken(Token()).value().secret;
  const std::vector<v1::SiteRecord> sites = journal_->Sites().value();
  ASSERT_EQ(sites.size(), 1u);
  for (const v1::SiteRecord& site : sites) {
    EXPECT_THAT(site.SerializeAsString(), Not(HasSubstr(secret)));
  }
}

TEST_F(EnrolmentTest, ARevokedSiteGetsNothingForItsToken) {
  Add();
  const std::string token = Token();
  ASSERT_TRUE(Act(v1::ChangeSiteRequest::REVOKE).ok());
  EXPECT_THAT(Refusal(machine_.Request(token)), HasSubstr("is not known here"));
  EXPECT_FALSE(registry_->Contains("berlin"));
}

TEST_F(EnrolmentTest, ASiteThatIsAddedAnewNeedsACertificateFromThenOn) {
  Add();
  const std::string before = enrolment_->Enrol(machine_.Request(Token())).value().issued().certificate();
  clock_.Advance(absl::Minutes(1));
  ASSERT_TRUE(Act(v1::ChangeSiteRequest::REVOKE).ok());
  Add();
  const auto begin = [](const std::string& pem) { return TimeOf(X509_get0_notBefore((*ParseCertificates(pem, "test"))[0].get())); };
  EXPECT_FALSE(registry_->Check("berlin", begin(before)).ok());
  const std::string after = enrolment_->Enrol(Machine().Request(Token())).value().issued().certificate();
  EXPECT_TRUE(registry_->Check("berlin", begin(after)).ok());
}

TEST_F(EnrolmentTest, WhatWasDoneToSitesOutlivesARestart) {
  Add();
  const std::string token = Token();
  ASSERT_TRUE(enrolment_->Enrol(machine_.Request(token)).ok());
  ASSERT_TRUE(Act(v1::ChangeSiteRequest::SUSPEND, "bob").ok());
  Start();
  const v1::ListSitesResponse sites = registrar_->List();
  ASSERT_EQ(sites.sites_size(), 1);
  EXPECT_EQ(sites.sites(0).standing(), v1::SiteRecord::SUSPENDED);
  EXPECT_EQ(sites.sites(0).actor(), "bob");
  EXPECT_FALSE(registry_->Contains("berlin"));
  ASSERT_TRUE(Act(v1::ChangeSiteRequest::RESUME).ok());
  EXPECT_TRUE(registry_->Contains("berlin"));
  EXPECT_THAT(Refusal(Machine().Request(token)), HasSubstr("another key")) << "what a token was used for, too";
}

TEST_F(EnrolmentTest, ASiteOfTheConfigurationIsThereUntilItIsThrownOut) {
  Start({"berlin"});
  EXPECT_TRUE(registry_->Contains("berlin"));
  Token();
  ASSERT_TRUE(Act(v1::ChangeSiteRequest::SUSPEND).ok());
  EXPECT_FALSE(registry_->Contains("berlin"));
  ASSERT_TRUE(Act(v1::ChangeSiteRequest::RESUME).ok());
  EXPECT_TRUE(registry_->Contains("berlin"));
  registry_->Replace({});
  EXPECT_FALSE(registry_->Contains("berlin")) << "the configuration alone had let it in";
}

TEST_F(EnrolmentTest, EveryActTellsThatSitesChanged) {
  Add();
  ASSERT_TRUE(Act(v1::ChangeSiteRequest::SUSPEND).ok());
  EXPECT_EQ(changes_, 2);
  EXPECT_EQ(Act(v1::ChangeSiteRequest::SUSPEND).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(changes_, 2);
}

class ApprovalTest : public EnrolmentTest {
 protected:
  void SetUp() override {
    config_.mutable_enrolment()->set_approval(v1::EnrolmentConfig::REQUIRED);
    EnrolmentTest::SetUp();
  }
};

TEST_F(ApprovalTest, AKeyWaitsForAnotherOperator) {
  Add();
  EXPECT_FALSE(registry_->Contains("berlin"));
  const std::string token = Token();
  EXPECT_THAT(std::string(Act(v1::ChangeSiteRequest::APPROVE, "bob").status().message()), HasSubstr("has not used it yet"));
  const v1::EnrolResponse waiting = enrolment_->Enrol(machine_.Request(token)).value();
  EXPECT_FALSE(waiting.has_issued());
  EXPECT_GT(waiting.ask_again_ms(), 0u);
  EXPECT_EQ(registrar_->List().sites(0).key_to_approve(), waiting.key_fingerprint());
  EXPECT_THAT(std::string(Act(v1::ChangeSiteRequest::APPROVE, "ada").status().message()), HasSubstr("another operator must approve"));
  ASSERT_TRUE(Act(v1::ChangeSiteRequest::APPROVE, "bob").ok());
  EXPECT_TRUE(registry_->Contains("berlin"));
  EXPECT_TRUE(enrolment_->Enrol(machine_.Request(token)).value().has_issued());
}

TEST_F(ApprovalTest, AKeyThatWaitsOutlivesItsToken) {
  Add();
  const std::string token = Token();
  ASSERT_TRUE(enrolment_->Enrol(machine_.Request(token)).ok());
  clock_.Advance(absl::Hours(2));
  EXPECT_FALSE(enrolment_->Enrol(machine_.Request(token)).value().has_issued());
  EXPECT_THAT(Refusal(Machine().Request(token)), HasSubstr("another key"));
}

TEST_F(ApprovalTest, ATokenForASiteThatIsInNeedsApprovalToo) {
  Start({"berlin"});
  EXPECT_FALSE(enrolment_->Enrol(machine_.Request(Token())).value().has_issued());
}

TEST_F(ApprovalTest, ASiteWithACertificateOfItsOwnIsApprovedWithoutAToken) {
  Add();
  ASSERT_TRUE(Act(v1::ChangeSiteRequest::APPROVE, "bob").ok());
  EXPECT_TRUE(registry_->Contains("berlin"));
}

TEST_F(EnrolmentTest, ARenewalIsForWhoeverCallsAndNotTooOften) {
  Add();
  const v1::EnrolRequest request = machine_.Request(Token());
  const std::string& csr = request.csr();
  EXPECT_EQ(enrolment_->Renew("berlin", csr).status().code(), absl::StatusCode::kFailedPrecondition) << "it came with another CA's";
  ASSERT_TRUE(enrolment_->Enrol(request).ok());
  clock_.Advance(absl::Minutes(1));
  const absl::StatusOr<v1::IssuedCertificate> issued = enrolment_->Renew("berlin", csr);
  ASSERT_TRUE(issued.ok()) << issued.status();
  EXPECT_THAT(UriNames(*(*ParseCertificates(issued->certificate(), "test"))[0]), ::testing::ElementsAre("spiffe://demo/site/berlin"));
  EXPECT_EQ(enrolment_->Renew("berlin", csr).status().code(), absl::StatusCode::kResourceExhausted);
  clock_.Advance(absl::Minutes(1));
  EXPECT_TRUE(enrolment_->Renew("berlin", csr).ok());
}

TEST_F(EnrolmentTest, WithoutACaNothingIsIssued) {
  config_.clear_enrolment();
  Start();
  Add();
  EXPECT_EQ(enrolment_->MakeToken("berlin", absl::Hours(1), {"ada", ""}).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(enrolment_->Renew("berlin", "").status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(EnrolmentTest, ACaThatTheCoordinatorDoesNotTrustIsRefused) {
  ASSERT_TRUE(InitCa(directory_.File("other"), "demo", absl::Hours(24)).ok());
  config_.mutable_enrolment()->set_ca_certificate(directory_.File("other/ca.crt"));
  config_.mutable_enrolment()->set_ca_key(directory_.File("other/ca.key"));
  const auto opened = Enrolment::Open(
      config_, Unchecked({directory_.File("ca.crt"), directory_.File("coordinator.crt"), directory_.File("coordinator.key")}), &clock_,
      registrar_.get());
  EXPECT_EQ(ExitCodeOf(opened.status()), ExitCode::kCredentials);
  EXPECT_THAT(std::string(opened.status().message()), HasSubstr("would not be accepted by the coordinator's own `tls.ca`"));
}

TEST(EnrolmentToken, IsOneLineThatReadsBack) {
  const EnrolmentToken token = MakeEnrolmentToken(Sha256("ca")).value();
  const std::string text = FormatToken(token);
  EXPECT_EQ(text.size(), 96u);
  const EnrolmentToken read = ParseToken(" " + text + "\n").value();
  EXPECT_EQ(read.secret, token.secret);
  EXPECT_EQ(read.ca, token.ca);
  for (const std::string& other :
       {std::string(), text.substr(1), text.substr(0, 95), text + "A", std::string("tributary-") + std::string(86, '!')}) {
    EXPECT_EQ(ParseToken(other).status().code(), absl::StatusCode::kInvalidArgument) << other;
  }
}

}  // namespace
}  // namespace tributary::coordinator
