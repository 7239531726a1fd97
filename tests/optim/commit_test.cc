#include "optim/commit.h"

#include <initializer_list>
#include <limits>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/checksum.h"
#include "common/stored_bytes.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tributary::optim {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Commit Example() {
  return {7, 0.5f, 3, "abc"};
}

TEST(CommitTest, ComesBackFromItsRecord) {
  const absl::StatusOr<Commit> decoded = DecodeCommit(EncodeCommit(Example()));
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(decoded->round, 7u);
  EXPECT_EQ(decoded->learning_rate, 0.5f);
  EXPECT_EQ(decoded->included, 3u);
  EXPECT_EQ(decoded->payload, "abc");
}

TEST(CommitTest, TheExampleOfTheDocumentHasItsBytes) {
  EXPECT_EQ(absl::BytesToHexString(EncodeCommit(Example())), "0107000000000000000000003f030000000300000000000000616263");
}

TEST(CommitTest, AnEmptyRoundComesBack) {
  const std::string record = EncodeCommit({1, 0, 0, ""});
  ASSERT_TRUE(DecodeCommit(record).ok());
  EXPECT_EQ(EncodeCommit(*DecodeCommit(record)), record);
}

TEST(CommitTest, EveryTruncationAndEveryTrailingByteIsRejected) {
  const std::string record = EncodeCommit(Example());
  for (size_t size = 0; size < record.size(); ++size) {
    EXPECT_EQ(DecodeCommit(record.substr(0, size)).status().code(), absl::StatusCode::kInvalidArgument) << size;
  }
  EXPECT_EQ(DecodeCommit(record + "x").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(CommitTest, EveryBitFlipIsRejectedOrIsAnotherCanonicalRecord) {
  const std::string record = EncodeCommit(Example());
  for (size_t bit = 0; bit < record.size() * 8; ++bit) {
    std::string flipped = record;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    const absl::StatusOr<Commit> decoded = DecodeCommit(flipped);
    if (decoded.ok()) {
      EXPECT_EQ(EncodeCommit(*decoded), flipped);
    }
  }
}

TEST(CommitTest, WhatNoCoordinatorWritesIsRejectedWithItsReason) {
  auto message = [](const Commit& commit) { return std::string(DecodeCommit(EncodeCommit(commit)).status().message()); };
  EXPECT_THAT(message({0, 0.5f, 1, "x"}), HasSubstr("round 0"));
  EXPECT_THAT(message({1, -0.5f, 1, "x"}), HasSubstr("learning rate"));
  EXPECT_THAT(message({1, -0.0f, 1, "x"}), HasSubstr("learning rate"));
  EXPECT_THAT(message({1, std::numeric_limits<float>::infinity(), 1, "x"}), HasSubstr("learning rate"));
  EXPECT_THAT(message({1, std::numeric_limits<float>::quiet_NaN(), 1, "x"}), HasSubstr("learning rate"));
  EXPECT_THAT(message({1, 0.5f, 4097, "x"}), HasSubstr("4097 updates"));
  EXPECT_THAT(message({1, 0.5f, 0, "x"}), HasSubstr("0 updates included"));
  EXPECT_THAT(message({1, 0.5f, 1, ""}), HasSubstr("payload of 0 bytes"));
}

TEST(CommitTest, OfAStoredRecordOnlyTheHeadIsDecoded) {
  const absl::StatusOr<CommitHead> head = DecodeCommitHead(*InMemory(EncodeCommit(Example())));
  ASSERT_TRUE(head.ok()) << head.status();
  EXPECT_EQ(head->payload_bytes, 3u);
  EXPECT_EQ(EncodeCommitHead(*head), EncodeCommit(Example()).substr(0, kCommitHeadBytes));
}

std::string Framed(std::initializer_list<absl::string_view> records) {
  std::string bytes;
  for (const absl::string_view record : records) {
    absl::StrAppend(&bytes, CommitRecordPrefix(record.size()), record);
  }
  return bytes;
}

TEST(CommitRecordsTest, ComeOutAsTheyWentIn) {
  EXPECT_EQ(absl::BytesToHexString(Framed({"one"})), "030000006f6e65");
  EXPECT_THAT(*SplitCommitRecords(Framed({"one", "", "three"}), 3), ElementsAre("one", "", "three"));
}

TEST(CommitRecordsTest, AnythingButTheWholeRecordsAskedForIsDamage) {
  const std::string bytes = Framed({"one", "two"});
  EXPECT_EQ(SplitCommitRecords(bytes, 1).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(SplitCommitRecords(bytes, 3).status().code(), absl::StatusCode::kDataLoss);
  for (size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_EQ(SplitCommitRecords(absl::string_view(bytes).substr(0, length), 2).status().code(), absl::StatusCode::kDataLoss) << length;
  }
}

TEST(CommitTest, TheChainHashIsThatOfThePreviousHashAndTheRecord) {
  Digest previous{};
  previous[0] = 1;
  std::string joined(reinterpret_cast<const char*>(previous.data()), previous.size());
  joined += "record";
  EXPECT_EQ(ChainHash(previous, "record"), Sha256(joined));
  EXPECT_EQ(*ChainHash(previous, *InMemory("record")), Sha256(joined));
}

TEST(CommitTest, ARecordThatIsGivenAwayIsTakenApartInItsOwnMemory) {
  Commit commit = Example();
  commit.payload = std::string(1000, 'p');
  std::string framed = Framed({EncodeCommit(commit)});
  const char* const memory = framed.data();
  absl::StatusOr<std::vector<std::string>> records = SplitCommitRecords(std::move(framed), 1);
  ASSERT_TRUE(records.ok()) << records.status();
  ASSERT_EQ(records->size(), 1u);
  const absl::StatusOr<Commit> decoded = DecodeCommit(std::move(records->front()));
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(decoded->payload, commit.payload);
  EXPECT_EQ(decoded->payload.data(), memory);

  EXPECT_THAT(*SplitCommitRecords(std::string(Framed({"one", "two"})), 2), ElementsAre("one", "two"));
  EXPECT_EQ(SplitCommitRecords(Framed({"one"}) + "x", 1).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(SplitCommitRecords(std::string("abc"), 1).status().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace tributary::optim
