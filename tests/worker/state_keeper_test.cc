// What a worker keeps between whole copies of its state, how often it makes these, and what a death in between costs.
#include "worker/state_keeper.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "common/files.h"
#include "tests/worker/training_site.h"
#include "worker/copy_budget.h"
#include "worker/sent_log.h"

namespace tributary::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::UnorderedElementsAre;

// Rounds in which a site makes a copy, if every round takes `round_time` and a copy `cost`.
std::set<uint64_t> RoundsWithACopy(absl::Duration round_time, absl::Duration cost, uint64_t rounds, uint64_t takes_part_every = 1) {
  absl::Time now = absl::UnixEpoch();
  CopyBudget budget(now, absl::Seconds(1));
  std::set<uint64_t> copied;
  for (uint64_t round = 1; round <= rounds; ++round) {
    now += round_time;
    if (round % takes_part_every == takes_part_every - 1 && budget.Due(round, now)) {
      now += cost;
      budget.Copied(round, now, cost);
      copied.insert(round);
    }
  }
  return copied;
}

TEST(CopyBudgetTest, CopiesTakeFivePercentAtMostAndNotMuchLess) {
  for (const absl::Duration cost : {absl::Milliseconds(1), absl::Milliseconds(60), absl::Seconds(1.3), absl::Seconds(20)}) {
    const uint64_t rounds = 20'000;
    const absl::Duration copying = cost * static_cast<double>(RoundsWithACopy(absl::Seconds(1), cost, rounds).size());
    EXPECT_LE(copying, 0.0501 * absl::Seconds(rounds)) << cost;
    if (cost * CopyBudget::kOneIn > absl::Seconds(1)) {
      EXPECT_GE(copying, 0.022 * absl::Seconds(rounds)) << cost;
    }
  }
  EXPECT_EQ(RoundsWithACopy(absl::Seconds(1), absl::Milliseconds(40), 1000).size(), 969u) << "cheap ones, from round 32 on: every round";
}

TEST(CopyBudgetTest, SitesWhoseCopiesCostAlikeMakeThemInTheSameRounds) {
  std::set<uint64_t> rounds;
  for (const double cost : {1.0, 1.1, 1.2, 1.3}) {
    const std::set<uint64_t> site = RoundsWithACopy(absl::Seconds(1), absl::Seconds(cost), 3200);
    rounds.insert(site.begin(), site.end());
  }
  EXPECT_LE(rounds.size(), 3200u / 32 + 4) << "every 32nd, and at most another first one of each";
}

TEST(CopyBudgetTest, ASiteThatTakesPartInOddRoundsOnlyMakesCopiesToo) {
  EXPECT_GE(RoundsWithACopy(absl::Seconds(1), absl::Seconds(1), 1000, 2).size(), 20u);
}

PendingUpdate Update(uint64_t round, std::string payload) {
  PendingUpdate update;
  update.round = round;
  update.base_hash = HashOf(round - 1);
  update.update.sha256 = DigestBytes(Sha256(payload));
  update.update.payload = std::make_shared<const std::string>(std::move(payload));
  update.update.report.set_train_loss(2);
  return update;
}

class SentLogTest : public ::testing::Test {
 protected:
  SentLogTest() : store_(OpenFolder(directory_.path(), 0600).value()), layout_(*optim::Layout::Create({{.name = "a", .shape = {5}}})) {}

  SentLog Log(const std::string& site = "berlin") { return SentLog({"run-1", site, &layout_}, store_.get()); }
  std::string Bytes() const { return store_->Read("run-1.sent", 1 << 26).value(); }
  // As a process that starts finds it.
  SentSince Found() { return Log().Open().value(); }

  TestFolder directory_;
  const std::unique_ptr<FileStore> store_;
  const optim::Layout layout_;
};

TEST_F(SentLogTest, TheNewestIsFound) {
  EXPECT_FALSE(Found().any);
  SentLog log = Log();
  ASSERT_TRUE(log.Open().ok());
  ASSERT_TRUE(log.Append(Update(1, "one")).ok());
  ASSERT_TRUE(log.Append(Update(2, "two")).ok());
  const SentSince found = Found();
  EXPECT_TRUE(found.any);
  ASSERT_TRUE(found.newest.has_value());
  EXPECT_EQ(found.newest->round, 2u);
  EXPECT_EQ(found.newest->base_hash, HashOf(1));
  EXPECT_EQ(*found.newest->update.payload, "two");
  EXPECT_EQ(found.newest->update.sha256, DigestBytes(Sha256("two")));
  EXPECT_EQ(found.newest->update.report.train_loss(), 2);
}

TEST_F(SentLogTest, ATornEndLeavesTheOneBeforeAndTheNextIsFound) {
  SentLog log = Log();
  ASSERT_TRUE(log.Append(Update(1, "one")).ok());
  const size_t first = Bytes().size();
  ASSERT_TRUE(log.Append(Update(2, "two")).ok());
  const std::string whole = Bytes();
  for (size_t length = 1; length < whole.size(); ++length) {
    ASSERT_TRUE(store_->Write("run-1.sent", whole.substr(0, length)).ok());
    SentLog again = Log();
    const SentSince found = again.Open().value();
    EXPECT_TRUE(found.any);
    EXPECT_EQ(found.newest.has_value(), length >= first) << length;
    EXPECT_EQ(found.newest.has_value() ? found.newest->round : 1, 1u);
    ASSERT_TRUE(again.Append(Update(3, "three")).ok());
    EXPECT_EQ(Found().newest->round, 3u) << length;
  }
}

TEST_F(SentLogTest, DamageIsNeverTakenForARecord) {
  SentLog log = Log();
  ASSERT_TRUE(log.Append(Update(1, "one")).ok());
  const size_t first = Bytes().size();
  ASSERT_TRUE(log.Append(Update(2, "two")).ok());
  const std::string whole = Bytes();
  for (size_t at = 0; at < whole.size(); ++at) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x40);
    ASSERT_TRUE(store_->Write("run-1.sent", damaged).ok());
    const SentSince found = Found();
    EXPECT_TRUE(found.any) << at;
    EXPECT_EQ(found.newest.has_value(), at >= first) << at;
    EXPECT_EQ(found.newest.has_value() ? found.newest->round : 1, 1u) << at;
  }
}

TEST_F(SentLogTest, WhatAnotherSiteSentIsNotResent) {
  ASSERT_TRUE(Log("paris").Append(Update(1, "one")).ok());
  EXPECT_TRUE(Found().any);
  EXPECT_FALSE(Found().newest.has_value());
}

TEST_F(SentLogTest, AWholeCopyEmptiesIt) {
  SentLog log = Log();
  EXPECT_TRUE(log.Clear().ok());
  EXPECT_FALSE(store_->Exists("run-1.sent")) << "nothing is written for nothing";
  ASSERT_TRUE(log.Append(Update(1, "one")).ok());
  EXPECT_TRUE(log.Clear().ok());
  EXPECT_FALSE(Found().any);
  ASSERT_TRUE(log.Append(Update(2, "two")).ok());
  EXPECT_EQ(Found().newest->round, 2u);
}

TEST_F(SentLogTest, ALongPayloadIsNotKeptAndALongLogBeginsAnew) {
  SentLog log = Log();
  ASSERT_TRUE(log.Append(Update(1, std::string(kMaxLoggedPayload + 1, 'x'))).ok());
  EXPECT_EQ(Found().newest->update.payload, nullptr);
  EXPECT_EQ(Found().newest->update.sha256, DigestBytes(Sha256(std::string(kMaxLoggedPayload + 1, 'x'))));
  for (uint64_t round = 2; round < 30; ++round) {
    ASSERT_TRUE(log.Append(Update(round, std::string(kMaxLoggedPayload, 'x'))).ok());
  }
  EXPECT_LT(Bytes().size(), 17u << 20);
  EXPECT_EQ(Found().newest->round, 29u);
}

TEST_F(SentLogTest, ItIsListedAndRemovedWithTheState) {
  ASSERT_TRUE(Log().Append(Update(1, "one")).ok());
  EXPECT_THAT(*SavedRuns(*store_), ElementsAre("run-1"));
  ASSERT_TRUE(WriteSavedState({"run-1", "berlin", &layout_}, {.round = 1, .pending = {}, .encoder = "", .trainer = ""}, *store_).ok());
  EXPECT_THAT(*SavedRuns(*store_), ElementsAre("run-1")) << "once";
  EXPECT_THAT(*RemoveAbandonedStates("run-2", Clock::Real().WallNow(), *store_), ElementsAre());
  EXPECT_TRUE(RemoveSavedState("run-1", *store_).ok());
  EXPECT_THAT(*store_->Names(), ElementsAre());
}

// What a site sends that begins with this round, from an empty residual.
std::string PayloadOfANewSite(absl::string_view mode, uint64_t round) {
  const TestFolder directory;
  return *Site(mode, directory.path()).Train(round)->payload;
}

TEST(SparingTest, ADeathBetweenCopiesLeavesTheUpdateThatWasSentAndCostsTheResidual) {
  for (const absl::string_view mode : kModes) {
    const TestFolder directory;
    Site site(mode, directory.path(), v1::SPARINGLY);
    for (uint64_t round = 1; round <= kRounds; ++round) {
      const std::string payload = *site.Train(round)->payload;
      EXPECT_EQ(payload, PayloadOfANewSite(mode, round)) << mode << " round " << round;
      const std::optional<PendingUpdate> pending = site.Start();
      ASSERT_TRUE(pending.has_value()) << mode << " round " << round;
      EXPECT_EQ(pending->round, round);
      EXPECT_EQ(pending->base_hash, HashOf(round - 1));
      EXPECT_EQ(*pending->update.payload, payload);
      site.Settle(FateOf(round));
    }
  }
}

TEST(SparingTest, TheResidualOfACopyIsNotUsedOnceAnUpdateWasSentAfterIt) {
  for (const absl::string_view mode : {"distro", "demo", "signsgd"}) {  // whose trainer need not be remembered to see it
    const TestFolder directory;
    Site site(mode, directory.path(), v1::SPARINGLY);
    site.Pass();
    ASSERT_TRUE(site.Train(1).ok());  // copied
    site.Settle(UpdateFate::kNotIncluded);
    site.Start();
    site.Settle(UpdateFate::kNotIncluded);
    ASSERT_TRUE(site.Train(2).ok());  // logged
    EXPECT_EQ(site.Start()->round, 2u);
    site.Settle(UpdateFate::kIncluded);
    const std::string third = *site.Train(3)->payload;

    const TestFolder elsewhere;
    Site other(mode, elsewhere.path());
    ASSERT_TRUE(other.Train(1).ok());  // for the trainer's sake
    other.Settle(UpdateFate::kIncluded);
    ASSERT_TRUE(WriteFileAtomically(elsewhere.File("run-1.sent"), "something was sent").ok());
    other.Start();
    EXPECT_EQ(third, *other.Train(3)->payload) << mode << ": the inner optimiser as copied, and an empty residual";
  }
}

TEST(SparingTest, ADeathAfterACopyCostsNothing) {
  for (const absl::string_view mode : kModes) {
    const std::vector<std::string> expected = Undisturbed(mode);
    const TestFolder directory;
    Site site(mode, directory.path(), v1::SPARINGLY);
    for (uint64_t round = 1; round <= kRounds; ++round) {
      site.Pass();
      EXPECT_EQ(*site.Train(round)->payload, expected[round - 1]) << mode << " round " << round;
      EXPECT_EQ(site.Start()->round, round);
      site.Settle(FateOf(round));
    }
  }
}

TEST(SparingTest, AStopThatWasAskedForCostsNothing) {
  for (const absl::string_view mode : kModes) {
    for (const bool settled : {false, true}) {
      const std::vector<std::string> expected = Undisturbed(mode);
      const TestFolder directory;
      Site site(mode, directory.path(), v1::SPARINGLY);
      for (uint64_t round = 1; round <= kRounds; ++round) {
        EXPECT_EQ(*site.Train(round)->payload, expected[round - 1]) << mode << " round " << round;
        if (settled) {
          site.Settle(FateOf(round));
        }
        EXPECT_EQ(site.Keep(), absl::OkStatus());
        EXPECT_EQ(site.Start().has_value(), !settled);
        site.Settle(FateOf(round));
      }
    }
  }
}

TEST(SparingTest, ADeathBetweenACopyAndTheEmptyingOfTheLogSendsNothingTwice) {
  const TestFolder directory;
  Site site("distro", directory.path(), v1::SPARINGLY);
  ASSERT_TRUE(site.Train(1).ok());
  const std::string log = ReadFile(directory.File("run-1.sent"), 1 << 20).value();
  site.Settle(UpdateFate::kIncluded);
  site.Pass();
  ASSERT_TRUE(site.Train(2).ok());
  ASSERT_TRUE(WriteFileAtomically(directory.File("run-1.sent"), log).ok());
  EXPECT_EQ(site.Start()->round, 1u) << "nothing of round 2 was sent";
}

TEST(SparingTest, AnUnreadableLogCostsTheResidual) {
  const TestFolder directory;
  Site site("distro", directory.path(), v1::SPARINGLY);
  site.Pass();
  ASSERT_TRUE(site.Train(1).ok());
  ASSERT_TRUE(WriteFileAtomically(directory.File("run-1.sent"), "what is this").ok());
  EXPECT_FALSE(site.Start().has_value());
  ASSERT_TRUE(site.Train(2).ok());
  EXPECT_EQ(site.Start()->round, 2u) << "and no record after it";
}

TEST(SparingTest, ALogThatWasTakenBackCountsAsTheNewest) {
  const TestFolder directory;
  Site site("distro", directory.path(), v1::SPARINGLY);
  ASSERT_TRUE(site.Train(100).ok());
  site.Settle(UpdateFate::kIncluded);
  ASSERT_TRUE(site.Train(51).ok());
  EXPECT_EQ(site.Start()->round, 51u);
}

TEST(SparingTest, FromOnePromiseToTheOther) {
  const TestFolder directory;
  {
    Site site("distro", directory.path(), v1::SPARINGLY);
    ASSERT_TRUE(site.Train(1).ok());
  }
  {
    Site site("distro", directory.path(), v1::EVERY_ROUND);
    site.Settle(UpdateFate::kIncluded);
    ASSERT_TRUE(site.Train(2).ok());
    EXPECT_EQ(site.Start()->round, 2u);
    EXPECT_EQ(ReadFile(directory.File("run-1.sent"), 1 << 20).value(), "");
  }
  Site site("distro", directory.path(), v1::SPARINGLY);
  ASSERT_TRUE(site.Train(3).status().code() == absl::StatusCode::kFailedPrecondition) << "round 2 is pending, as saved";
}

// Its updates are too long for the log.
class LongUpdateTest : public ::testing::Test {
 protected:
  const TestFolder directory_;
  Site site_{"diloco", directory_.path(), v1::SPARINGLY, /*hidden=*/80'000};
};

TEST_F(LongUpdateTest, TheSameBytesMayBeSentAgain) {
  const std::string payload = *site_.Train(1)->payload;
  ASSERT_GT(payload.size(), kMaxLoggedPayload);
  EXPECT_FALSE(site_.Start().has_value());
  const absl::StatusOr<TrainedUpdate> again = site_.Train(1);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(*again->payload, payload);
}

TEST_F(LongUpdateTest, OtherBytesAreNotSentForARoundOfWhichSomeWere) {
  ASSERT_TRUE(site_.Train(1).ok());
  site_.Settle(UpdateFate::kIncluded);
  ASSERT_TRUE(site_.Train(2).ok());
  for (int death = 0; death < 2; ++death) {
    EXPECT_FALSE(site_.Start().has_value());
    EXPECT_EQ(site_.Train(2).status().code(), absl::StatusCode::kAlreadyExists) << "the inner optimiser has forgotten round 1";
    EXPECT_EQ(site_.Keep(), absl::OkStatus());
  }
  EXPECT_TRUE(site_.Train(3).ok()) << "the next round is not held up";
}

TEST_F(LongUpdateTest, ARoundThatBeginsAgainFromAnotherStateIsAnother) {
  ASSERT_TRUE(site_.Train(1).ok());
  site_.Settle(UpdateFate::kIncluded);
  ASSERT_TRUE(site_.Train(2).ok());
  site_.Start();
  EXPECT_TRUE(site_.Train(2, "another state").ok());
}

}  // namespace
}  // namespace tributary::worker
