#include "coordinator/audit/head_publisher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/clock.h"
#include "proto/audit/tree_head.h"
#include "tests/coordinator/journal/journal_support.h"

namespace tributary::coordinator {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class HeadPublisherTest : public SqliteJournalTest {
 protected:
  HeadPublisherTest() : journal_(Open()), log_(AuditLog::Open(journal_.get(), &clock_, "demo").value()) {}

  void Append(int count) {
    for (int i = 0; i < count; ++i) {
      v1::AuditRecord record;
      record.mutable_registry_act()->set_act("added");
      log_->Append(std::move(record));
    }
  }
  // What is sent: site and message.
  auto Sent() {
    return [this](const std::string& site, const HeadPublisher::Message& message) { sent_.emplace_back(site, message->tree_head()); };
  }
  void Greet(const std::string& site, std::optional<uint64_t> held) {
    v1::Hello hello;
    if (held.has_value()) {
      hello.set_audit_size(*held);
    }
    ASSERT_EQ(publisher_.Greet(site, hello, Sent()), absl::OkStatus());
  }
  void Publish(HeadPublisher::When when) { ASSERT_EQ(publisher_.Publish(when, Sent()), absl::OkStatus()); }
  std::vector<std::string> Told() const {
    std::vector<std::string> sites;
    for (const auto& [site, head] : sent_) {
      sites.push_back(site);
    }
    return sites;
  }

  SimulatedClock clock_{absl::FromUnixSeconds(1'700'000'000)};
  const std::unique_ptr<Journal> journal_;
  const std::unique_ptr<AuditLog> log_;
  std::string certificate_ = "first";
  absl::Status signing_;
  HeadPublisher publisher_{log_.get(), &clock_, [this](v1::TreeHead& head) {
                             head.add_certificates(certificate_);
                             return signing_;
                           }};
  std::vector<std::pair<std::string, v1::TreeHeadUpdate>> sent_;
};

TEST_F(HeadPublisherTest, EveryHeadASiteIsToldOfContinuesTheOneBefore) {
  Append(20);
  Greet("berlin", 0);
  for (int i = 0; i < 10; ++i) {
    Append(3 + i);
    clock_.Advance(kHeadInterval);
    Publish(HeadPublisher::When::kIfDue);
  }
  ASSERT_EQ(sent_.size(), 11u);
  for (size_t i = 1; i < sent_.size(); ++i) {
    const v1::TreeHeadUpdate& update = sent_[i].second;
    EXPECT_EQ(update.from_size(), sent_[i - 1].second.head().size());
    EXPECT_TRUE(VerifyContinues(sent_[i - 1].second.head(), update.head(), update.consistency()).ok()) << i;
  }
}

TEST_F(HeadPublisherTest, ASiteThatComesBackIsProvenThatTheLogContinuesWhatItHolds) {
  Greet("berlin", 0);
  const v1::TreeHead held = sent_.back().second.head();
  Append(100);
  Publish(HeadPublisher::When::kNow);
  Greet("berlin", held.size());
  const v1::TreeHeadUpdate& update = sent_.back().second;
  EXPECT_EQ(update.head().size(), 101u);
  EXPECT_TRUE(VerifyContinues(held, update.head(), update.consistency()).ok());
}

TEST_F(HeadPublisherTest, FastRoundsDoNotMakeMoreHeads) {
  Greet("berlin", 0);
  for (int i = 0; i < 100; ++i) {
    Append(1);
    clock_.Advance(kHeadInterval / 50);
    Publish(HeadPublisher::When::kIfDue);
  }
  EXPECT_EQ(sent_.size(), 3u);
}

TEST_F(HeadPublisherTest, WithoutANewRecordThereIsNoNewHead) {
  Greet("berlin", 0);
  clock_.Advance(kHeadInterval);
  Publish(HeadPublisher::When::kIfDue);
  Publish(HeadPublisher::When::kNow);
  EXPECT_EQ(sent_.size(), 1u);
}

TEST_F(HeadPublisherTest, ASiteThatTakesNoHeadsIsSentNone) {
  Greet("berlin", 0);
  Greet("paris", std::nullopt);
  Append(1);
  Publish(HeadPublisher::When::kNow);
  EXPECT_THAT(Told(), ElementsAre("berlin", "berlin"));
  Greet("berlin", std::nullopt);  // an older release was put in its place
  Append(1);
  Publish(HeadPublisher::When::kNow);
  EXPECT_EQ(sent_.size(), 2u);
}

TEST_F(HeadPublisherTest, CertificatesAreSentAgainWhenTheyChange) {
  Greet("berlin", 0);
  Append(1);
  Publish(HeadPublisher::When::kNow);
  certificate_ = "second";
  Append(1);
  Publish(HeadPublisher::When::kNow);
  EXPECT_THAT(sent_[0].second.head().certificates(), ElementsAre("first"));
  EXPECT_THAT(sent_[1].second.head().certificates(), IsEmpty());
  EXPECT_THAT(sent_[2].second.head().certificates(), ElementsAre("second"));
}

TEST_F(HeadPublisherTest, ALogThatIsShorterThanWhatASiteHoldsHasNoProof) {
  Append(5);
  Greet("berlin", 1000);
  EXPECT_EQ(sent_.back().second.from_size(), 0u);
  EXPECT_THAT(sent_.back().second.consistency(), IsEmpty());
}

TEST_F(HeadPublisherTest, WhatCannotBeSignedIsNotPublished) {
  signing_ = absl::UnauthenticatedError("no key");
  Greet("berlin", 0);
  EXPECT_THAT(sent_, IsEmpty());
}

TEST_F(HeadPublisherTest, WhatIsPublishedIsDurable) {
  Append(5);
  Greet("berlin", 0);
  const std::unique_ptr<Journal> looker = InspectSqliteJournal(path()).value();
  EXPECT_EQ(looker->audit()->Size().value(), sent_.back().second.head().size());
}

TEST_F(HeadPublisherTest, TheNewestHeadIsInTheJournal) {
  Greet("berlin", 0);
  ASSERT_TRUE(journal_->Flush().ok());
  v1::TreeHead kept;
  ASSERT_TRUE(kept.ParseFromString(journal_->audit()->Head().value()));
  EXPECT_EQ(kept.root_hash(), sent_.back().second.head().root_hash());
}

TEST_F(HeadPublisherTest, AHeadAndItsProofAreLessThanAKilobyteInALongLog) {
  Append(3000);
  Greet("berlin", 0);
  Append(17);
  Publish(HeadPublisher::When::kNow);
  // With a signature; a log of a million records has 8 hashes more.
  EXPECT_LT(sent_.back().second.ByteSizeLong() + 72 + 8 * 34, 1024u);
}

}  // namespace
}  // namespace tributary::coordinator
