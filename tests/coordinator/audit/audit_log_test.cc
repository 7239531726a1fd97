#include "coordinator/audit/audit_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/exit_codes.h"
#include "common/merkle_tree.h"
#include "coordinator/journal/journal_disk.h"
#include "coordinator/journal/journal_format.h"
#include "coordinator/journal/schema.h"
#include "coordinator/journal/sqlite_database.h"
#include "tests/coordinator/journal/journal_support.h"

namespace tributary::coordinator {
namespace {

using ::testing::HasSubstr;

class AuditLogTest : public SqliteJournalTest {
 protected:
  static std::unique_ptr<AuditLog> Over(Journal& journal) {
    absl::StatusOr<std::unique_ptr<AuditLog>> log = AuditLog::Open(&journal, &Clock::Real(), "demo");
    EXPECT_TRUE(log.ok()) << log.status();
    return *std::move(log);
  }
  static void Append(AuditLog& log, int count) {
    for (int i = 0; i < count; ++i) {
      v1::AuditRecord record;
      record.mutable_registry_act()->set_subject(absl::StrCat("site-", log.size()));
      log.Append(std::move(record));
    }
  }
  static Digest RootOf(const v1::TreeHead& head) {
    Digest root{};
    EXPECT_TRUE(ToDigest(head.root_hash(), root));
    return root;
  }
  void Spoil(const std::string& sql) {
    const auto database = Database::Open(path(), path(), SQLITE_OPEN_READWRITE);
    ASSERT_TRUE((*database)->Execute(sql).ok());
  }
};

TEST_F(AuditLogTest, BeginsWithARecordThatSaysSinceWhenItRuns) {
  const auto journal = Open();
  const auto log = Over(*journal);
  ASSERT_EQ(log->Head()->size(), 1u);
  v1::AuditRecord first;
  ASSERT_TRUE(first.ParseFromString(log->Read(0, 1, 1000)->at(0)));
  EXPECT_EQ(first.log_begun().federation(), "demo");
  EXPECT_GT(first.unix_ms(), 0);
}

TEST_F(AuditLogTest, ARecordIsDurableWithTheNextWriteOfAnyKind) {
  {
    const auto journal = Open();
    const auto log = Over(*journal);
    Append(*log, 1);
    ASSERT_TRUE(journal->AddRun(MakeRun("run")).ok());
    Append(*log, 1);  // and no write after it
  }
  EXPECT_EQ(Over(*Open())->size(), 2u);
}

TEST_F(AuditLogTest, GoesOnAfterARestartAsIfThereHadBeenNone) {
  std::vector<v1::TreeHead> heads;
  for (const int count : {5, 60, 1, 64, 130}) {
    const auto journal = Open();
    const auto log = Over(*journal);
    Append(*log, count);
    heads.push_back(log->Head().value());
  }
  const auto journal = Open();
  const auto log = Over(*journal);
  MerkleFrontier anew;
  const std::vector<std::string> records = log->Read(0, log->size(), 1 << 20).value();
  for (const std::string& record : records) {
    anew.Append(MerkleLeaf(record));
  }
  EXPECT_EQ(anew.size(), 261u);
  EXPECT_EQ(anew.Root(), RootOf(heads.back()));
  ASSERT_TRUE(journal->CheckIntegrity().ok());
}

TEST_F(AuditLogTest, ProvesEveryLaterHeadConsistentWithEveryEarlierOne) {
  const auto journal = Open();
  const auto log = Over(*journal);
  std::vector<v1::TreeHead> heads;
  for (int i = 0; i < 40; ++i) {
    Append(*log, 1 + 7 * i % 11);
    heads.push_back(log->Head().value());
  }
  for (size_t to = 0; to < heads.size(); ++to) {
    for (size_t from = 0; from <= to; ++from) {
      const auto proof = log->ProveConsistency(heads[from].size(), heads[to].size());
      ASSERT_TRUE(proof.ok()) << proof.status();
      EXPECT_TRUE(VerifyConsistency(heads[from].size(), RootOf(heads[from]), heads[to].size(), RootOf(heads[to]), *proof).ok());
    }
  }
}

TEST_F(AuditLogTest, ProvesThatARecordIsInIt) {
  const auto journal = Open();
  const auto log = Over(*journal);
  Append(*log, 200);
  const v1::TreeHead head = log->Head().value();
  for (const uint64_t index : {0, 63, 64, 150, 200}) {
    const std::string record = log->Read(index, index + 1, 1)->at(0);
    const auto proof = log->ProveInclusion(index, head.size());
    ASSERT_TRUE(proof.ok()) << proof.status();
    EXPECT_TRUE(VerifyInclusion(MerkleLeaf(record), index, head.size(), *proof, RootOf(head)).ok()) << index;
  }
}

TEST_F(AuditLogTest, ReadsAsManyRecordsAsFitAndAtLeastOne) {
  const auto journal = Open();
  const auto log = Over(*journal);
  Append(*log, 20);
  ASSERT_TRUE(journal->Flush().ok());
  EXPECT_EQ(log->Read(3, 21, 1)->size(), 1u);
  EXPECT_EQ(log->Read(3, 21, 1 << 20)->size(), 18u);
  const size_t some = log->Read(3, 21, 100)->size();
  EXPECT_GT(some, 1u);
  EXPECT_LT(some, 18u);
}

TEST_F(AuditLogTest, AJournalOfAnEarlierFormatKeepsNone) {
  ASSERT_TRUE(CreateJournal(path(), kFormatWithAudit - 1, JournalDisk::Real()).ok());
  const auto journal = Open();
  const auto log = Over(*journal);
  EXPECT_FALSE(log->kept());
  Append(*log, 3);
  EXPECT_EQ(log->Head().status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(AuditLogTest, ANodeThatIsNotThatOfItsRecordsIsFound) {
  {
    const auto journal = Open();
    journal->audit()->NoteNode(kLeastAuditLevel, 0, Sha256("another"));
    for (uint64_t index = 0; index < 64; ++index) {
      journal->audit()->NoteRecord(index, "record");
    }
    ASSERT_TRUE(journal->Flush().ok());
  }
  const absl::Status checked = Open()->CheckIntegrity();
  EXPECT_EQ(ExitCodeOf(checked), ExitCode::kDamaged);
  EXPECT_THAT(std::string(checked.message()), HasSubstr("is not that of its records"));
}

TEST_F(AuditLogTest, ARecordThatIsGoneIsFound) {
  {
    const auto journal = Open();
    const auto log = Over(*journal);
    Append(*log, 100);
    ASSERT_TRUE(journal->Flush().ok());
  }
  Spoil("DELETE FROM audit_records WHERE number = 70");
  const absl::Status checked = Open()->CheckIntegrity();
  EXPECT_THAT(std::string(checked.message()), HasSubstr("audit record 70 is missing"));
}

}  // namespace
}  // namespace tributary::coordinator
