#include "cli/audit_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/exit_codes.h"
#include "common/merkle_tree.h"
#include "tests/common/test_folder.h"

namespace tributary::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

class AuditFileTest : public ::testing::Test {
 protected:
  static std::string Record(uint64_t index) {
    v1::AuditRecord record;
    record.set_unix_ms(1'700'000'000'000 + static_cast<int64_t>(index));
    record.mutable_accepted_update()->set_site(absl::StrCat("site-", index));
    return record.SerializeAsString();
  }
  static v1::TreeHead HeadOf(uint64_t size) {
    MerkleFrontier frontier;
    for (uint64_t i = 0; i < size; ++i) {
      frontier.Append(MerkleLeaf(Record(i)));
    }
    v1::TreeHead head;
    head.set_size(size);
    head.set_root_hash(DigestBytes(frontier.Root()));
    head.set_unix_ms(1'700'000'000'000);
    return head;
  }
  // An export of `size` records, of which `altered` is another.
  std::string Export(uint64_t size, uint64_t altered = UINT64_MAX) const {
    std::string text = AuditFileHeader(HeadOf(size), "demo");
    for (uint64_t i = 0; i < size; ++i) {
      absl::StrAppend(&text, AuditFileRecord(i, i == altered ? "another" : Record(i)));
    }
    folder_.Write("log.jsonl", text);
    return folder_.File("log.jsonl");
  }

  const TestFolder folder_;
};

TEST_F(AuditFileTest, AnExportMakesItsHead) {
  const AuditFile file = ReadAuditFile(Export(77)).value();
  EXPECT_EQ(file.federation, "demo");
  EXPECT_THAT(file.records, SizeIs(77));
  EXPECT_EQ(CheckTree(file), absl::OkStatus());
}

TEST_F(AuditFileTest, ARecordThatWasAlteredDoesNot) {
  const absl::Status checked = CheckTree(ReadAuditFile(Export(77, 13)).value());
  EXPECT_EQ(ExitCodeOf(checked), ExitCode::kDamaged) << checked;
}

TEST_F(AuditFileTest, EveryRecordHasAProofThatStandsAlone) {
  const AuditFile file = ReadAuditFile(Export(77)).value();
  for (const uint64_t index : {0, 40, 76}) {
    folder_.Write("proof.json", MakeAuditProof(file, index).value());
    const AuditFile proof = ReadAuditFile(folder_.File("proof.json")).value();
    EXPECT_TRUE(proof.is_proof);
    EXPECT_EQ(proof.index, index);
    EXPECT_EQ(proof.records, std::vector<std::string>({Record(index)}));
    EXPECT_EQ(CheckTree(proof), absl::OkStatus()) << index;
  }
  EXPECT_EQ(ExitCodeOf(MakeAuditProof(file, 77).status()), ExitCode::kNotFound);
}

TEST_F(AuditFileTest, AProofOfAnotherRecordDoesNotStand) {
  folder_.Write("proof.json", MakeAuditProof(ReadAuditFile(Export(77)).value(), 40).value());
  AuditFile proof = ReadAuditFile(folder_.File("proof.json")).value();
  proof.records = {Record(41)};
  EXPECT_EQ(ExitCodeOf(CheckTree(proof)), ExitCode::kDamaged);
}

TEST_F(AuditFileTest, HeadsThatWorkersKeptAreBeginningsOfTheExport) {
  const AuditFile file = ReadAuditFile(Export(77)).value();
  EXPECT_EQ(CheckKeptHeads(file, {HeadOf(64), HeadOf(3), HeadOf(77)}), absl::OkStatus());
  v1::TreeHead other = HeadOf(64);
  other.set_size(63);
  EXPECT_THAT(std::string(CheckKeptHeads(file, {HeadOf(3), other}).message()), HasSubstr("the first 63 records"));
  EXPECT_THAT(std::string(CheckKeptHeads(file, {HeadOf(78)}).message()), HasSubstr("the file has 77"));
}

TEST_F(AuditFileTest, WhatIsNotWholeIsNamedByItsLine) {
  folder_.Write("log.jsonl", absl::StrCat(AuditFileHeader(HeadOf(2), "demo"), AuditFileRecord(1, Record(1))));
  const absl::Status read = ReadAuditFile(folder_.File("log.jsonl")).status();
  EXPECT_EQ(ExitCodeOf(read), ExitCode::kDamaged);
  EXPECT_THAT(std::string(read.message()), HasSubstr("line 2"));
  folder_.Write("else.json", "{}\n");
  EXPECT_EQ(ExitCodeOf(ReadAuditFile(folder_.File("else.json")).status()), ExitCode::kDamaged);
}

}  // namespace
}  // namespace tributary::cli
