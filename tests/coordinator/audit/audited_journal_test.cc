#include "coordinator/audit/audited_journal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/checksum.h"
#include "common/clock.h"
#include "tests/coordinator/journal/journal_support.h"

namespace tributary::coordinator {
namespace {

using ::testing::ElementsAre;

class AuditedJournalTest : public SqliteJournalTest {
 protected:
  AuditedJournalTest() : journal_(AuditedJournal::Over(Open(), &clock_, "demo").value()) {}

  std::vector<v1::AuditRecord> Records() {
    EXPECT_TRUE(journal_->Flush().ok());
    std::vector<v1::AuditRecord> records;
    const std::vector<std::string> all = journal_->log().Read(0, journal_->log().size(), 1 << 20).value();
    for (const std::string& bytes : all) {
      EXPECT_TRUE(records.emplace_back().ParseFromString(bytes));
    }
    return records;
  }
  // One line a record, but for the first.
  std::vector<std::string> Told() {
    std::vector<std::string> lines;
    const std::vector<v1::AuditRecord> records = Records();
    for (const v1::AuditRecord& record : records) {
      const auto& act = record.operator_act();
      const auto& event = record.site_event();
      const auto& update = record.accepted_update();
      const auto& commit = record.committed_round();
      if (record.has_operator_act()) {
        lines.push_back(absl::StrCat(act.act(), " by ", act.operator_name(), " ", act.run_id(), " ", act.round(), " ", act.reason()));
      } else if (record.has_site_event()) {
        lines.push_back(absl::StrCat(event.kind(), " ", event.site(), " ", event.run_id(), " ", event.round(), " ", event.detail()));
      } else if (record.has_accepted_update()) {
        lines.push_back(absl::StrCat("accepted ", update.site(), " ", update.run_id(), " ", update.round(), " ", update.payload_bytes()));
      } else if (record.has_committed_round()) {
        lines.push_back(absl::StrCat("committed ", commit.run_id(), " ", commit.round(), " of ", commit.updates()));
      } else if (const auto& done = record.registry_act(); record.has_registry_act()) {
        lines.push_back(absl::StrCat(done.subject(), " ", done.act(), " by ", done.actor(), ": ", done.detail()));
      }
    }
    return lines;
  }

  SimulatedClock clock_{absl::FromUnixSeconds(1'700'000'000)};
  const std::unique_ptr<AuditedJournal> journal_;
};

TEST_F(AuditedJournalTest, RecordsWhatPassesThroughInItsOrder) {
  ASSERT_TRUE(journal_->AddRun(MakeRun("run")).ok());
  journal_->NoteEvent("run", {1, "", "submitted", 0, "", "ada"});
  journal_->NoteEvent("run", {2, "berlin", "joined", 0, ""});
  ASSERT_TRUE(journal_->StartRound("run", {1, {"berlin", "paris"}}).ok());
  ASSERT_TRUE(journal_->AddUpdate("run", 1, MakeUpdate("berlin", "12345")).ok());
  journal_->NoteEvent("run", {3, "paris", "rejected", 1, "not finite"});
  ASSERT_TRUE(journal_->AddCommit("run", 1, MakeCommit(1, {}, "payload")).ok());
  journal_->NoteEvent("run", {4, "", "stopped", 1, "wrong data", "ada"});
  EXPECT_THAT(Told(), ElementsAre("submitted by ada run 0 ", "joined berlin run 0 ", "accepted berlin run 1 5",
                                  "rejected paris run 1 not finite", "committed run 1 of 2", "stopped by ada run 1 wrong data"));
}

TEST_F(AuditedJournalTest, RecordsWhatWasDoneToSites) {
  v1::SiteRecord site;
  site.set_name("berlin");
  ASSERT_TRUE(journal_->PutSite(site, {"ada", "revoked", "the laptop was stolen"}).ok());
  EXPECT_THAT(Told(), ElementsAre("berlin revoked by ada: the laptop was stolen"));
}

TEST_F(AuditedJournalTest, NamesAnUpdateByItsDigestAndACommitByItsHashes) {
  ASSERT_TRUE(journal_->AddRun(MakeRun("run")).ok());
  ASSERT_TRUE(journal_->StartRound("run", {1, {"berlin", "paris"}}).ok());
  JournaledUpdate in_a_file = MakeUpdate("paris", "");
  in_a_file.file = "paris.update";
  in_a_file.file_bytes = 4711;
  in_a_file.file_digest = Sha256("of paris");
  const std::vector<JournaledUpdate> updates = {MakeUpdate("berlin", "12345"), in_a_file};
  ASSERT_TRUE(journal_->AddUpdates("run", 1, updates).ok());
  const JournaledCommit commit = MakeCommit(1, {}, "payload");
  ASSERT_TRUE(journal_->AddCommit("run", 1, commit).ok());
  const std::vector<v1::AuditRecord> records = Records();
  ASSERT_EQ(records.size(), 4u);
  EXPECT_EQ(records[1].accepted_update().payload_sha256(), DigestBytes(Sha256("12345")));
  EXPECT_EQ(records[2].accepted_update().payload_sha256(), DigestBytes(Sha256("of paris")));
  EXPECT_EQ(records[2].accepted_update().payload_bytes(), 4711u);
  EXPECT_EQ(records[3].committed_round().chain_hash(), DigestBytes(commit.chain_hash));
  EXPECT_EQ(records[3].committed_round().state_hash(), DigestBytes(commit.state_hash));
}

TEST_F(AuditedJournalTest, ASiteCannotFillTheLogAndWhatWasLeftOutIsCounted) {
  ASSERT_TRUE(journal_->AddRun(MakeRun("run")).ok());
  const auto late = [this](const std::string& site) { journal_->NoteEvent("run", {1, site, "late", 1, ""}); };
  for (uint32_t i = 0; i < kAuditedEventsAtOnce + 40; ++i) {
    late("berlin");
  }
  late("paris");
  EXPECT_EQ(Records().size(), 1 + kAuditedEventsAtOnce + 1);
  clock_.Advance(kAuditedEventInterval);
  late("berlin");
  late("berlin");
  const std::vector<v1::AuditRecord> records = Records();
  ASSERT_EQ(records.size(), 1 + kAuditedEventsAtOnce + 2);
  EXPECT_EQ(records.back().site_event().omitted_before(), 40u);
}

TEST_F(AuditedJournalTest, ARoundOfSixteenSitesCostsLessThanTwoKilobytes) {
  ASSERT_TRUE(journal_->AddRun(MakeRun("digits-1a2b3c4d")).ok());
  const size_t before = Records().size();
  ASSERT_TRUE(journal_->StartRound("digits-1a2b3c4d", {1, {}}).ok());
  std::vector<JournaledUpdate> updates;
  for (int i = 0; i < 16; ++i) {
    updates.push_back(MakeUpdate(absl::StrCat("hospital-", i), "payload"));
  }
  ASSERT_TRUE(journal_->AddUpdates("digits-1a2b3c4d", 1, updates).ok());
  ASSERT_TRUE(journal_->AddCommit("digits-1a2b3c4d", 1, MakeCommit(1, {}, "payload")).ok());
  const std::vector<v1::AuditRecord> records = Records();
  ASSERT_EQ(records.size(), before + 17);
  size_t bytes = 0;
  for (size_t i = before; i < records.size(); ++i) {
    bytes += records[i].ByteSizeLong() + 20;  // with what SQLite and the tree add to a row
  }
  EXPECT_LT(bytes, 2000u);
}

TEST_F(AuditedJournalTest, ASignedUpdateIsRecordedWithItsSignatureAndTheCertificateOnceBeforeIt) {
  const auto signed_update = [](const std::string& site, const std::string& certificate) {
    JournaledUpdate update = MakeUpdate(site, "12345");
    update.base_state_hash = "base";
    update.proof.standing = UpdateProof::Standing::kGood;
    update.proof.sequence = 4;
    update.proof.signature = "signature";
    update.proof.certificates = std::make_shared<const std::vector<std::string>>(std::vector<std::string>{certificate, "ca"});
    return update;
  };
  for (const char* const run : {"run", "other"}) {
    ASSERT_TRUE(journal_->AddRun(MakeRun(run)).ok());
    ASSERT_TRUE(journal_->StartRound(run, {1, {"berlin", "paris"}}).ok());
    ASSERT_TRUE(journal_->AddUpdates(run, 1, {signed_update("berlin", "of berlin"), MakeUpdate("paris", "12345")}).ok());
  }
  const std::vector<v1::AuditRecord> records = Records();
  ASSERT_EQ(records.size(), 6u);
  EXPECT_EQ(records[1].site_certificate().site(), "berlin");
  EXPECT_THAT(records[1].site_certificate().certificates(), ElementsAre("of berlin", "ca"));
  const v1::AuditRecord::SignedUpdate& claim = records[2].accepted_update().claim();
  EXPECT_EQ(claim.base_state_hash(), "base");
  EXPECT_EQ(claim.sequence(), 4u);
  EXPECT_EQ(claim.signature(), "signature");
  EXPECT_EQ(claim.certificate_sha256(), DigestBytes(Sha256("of berlin")));
  EXPECT_FALSE(records[3].accepted_update().has_claim()) << "paris did not sign";
  EXPECT_TRUE(records[4].accepted_update().has_claim()) << "without its certificate again";
}

TEST_F(AuditedJournalTest, AConflictingUpdateIsRecordedWithTheSignatureThatProvesIt) {
  ASSERT_TRUE(journal_->AddRun(MakeRun("run")).ok());
  JournaledEvent event = {1, "berlin", "conflicting", 3, "two of them"};
  event.base_state_hash = "base";
  event.proof.standing = UpdateProof::Standing::kGood;
  event.proof.payload_sha256 = "digest";
  event.proof.signature = "signature";
  event.proof.certificates = std::make_shared<const std::vector<std::string>>(std::vector<std::string>{"of berlin"});
  journal_->NoteEvent("run", event);
  const std::vector<v1::AuditRecord> records = Records();
  ASSERT_EQ(records.size(), 3u);
  EXPECT_TRUE(records[1].has_site_certificate());
  EXPECT_EQ(records[2].site_event().claim().payload_sha256(), "digest");
  EXPECT_EQ(records[2].site_event().claim().signature(), "signature");
}

}  // namespace
}  // namespace tributary::coordinator
