// updates.cc: updates that are not as they should be, and uploads.
#include "coordinator/coordinator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

#include "common/checksum.h"
#include "coordinator/journal/updates_of.h"
#include "coordinator/metrics.h"
#include "proto/config/capabilities.h"
#include "tests/coordinator/federation.h"

namespace tributary::coordinator {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

TEST_F(OpenRound, AnInvalidUpdateIsRejectedWithThePlaceAndTheRoundGoesOnWithoutIt) {
  Send(1, site().StateHash(), "not an update");
  ASSERT_FALSE(site().receipts.empty());
  EXPECT_EQ(site().receipts[0].result(), v1::Receipt::REJECTED);
  EXPECT_THAT(site().receipts[0].reason(), StartsWith("site site-2, round 1: "));
  EXPECT_EQ(federation_.Status(run_).round(), 1u);
  EXPECT_EQ(federation_.Status(run_).last_round().included(), 2u);
  EXPECT_EQ(SiteOf(federation_.Status(run_), "site-2").updates_rejected(), 1u);
}

TEST(WeighedUpdates, ASiteWithMoreSamplesMovesTheModelFurther) {
  std::vector<std::string> hashes;
  for (const uint64_t samples : {100, 100, 5000}) {
    Federation federation(2);
    federation.site(0).samples = samples;
    federation.site(1).samples = 100;
    const std::string run = Submit(federation, MakeSpec("toy", 3, 2, "fedavg, weighting: samples"));
    federation.ConnectAll();
    federation.RunToEnd(run);
    hashes.push_back(CommonHash(federation, run));
  }
  EXPECT_EQ(hashes[0], hashes[1]);
  EXPECT_NE(hashes[0], hashes[2]);
}

TEST(WeighedUpdates, AnUpdateWithoutItsNumberOfSamplesIsRejected) {
  Federation federation(2);
  federation.site(1).samples = 0;
  const std::string run = Submit(federation, MakeSpec("toy", 3, 2, "fedavg, weighting: samples"));
  federation.ConnectAll();
  federation.Settle();
  ASSERT_FALSE(federation.site(1).receipts.empty());
  EXPECT_EQ(federation.site(1).receipts[0].result(), v1::Receipt::REJECTED);
  EXPECT_THAT(federation.site(1).receipts[0].reason(), HasSubstr("weighs updates by samples"));
}

TEST_F(OpenRound, AtTheDeadlineItClosesWithAQuorumAndTheLateUpdateGetsItsReceipt) {
  const std::string base = site().StateHash();
  federation_.Advance(absl::Seconds(61));
  EXPECT_EQ(federation_.Status(run_).round(), 1u);
  EXPECT_EQ(SiteOf(federation_.Status(run_), "site-2").rounds_missed(), 1u);
  Send(1, base, "whatever it holds");
  ASSERT_FALSE(site().receipts.empty());
  EXPECT_EQ(site().receipts.back().result(), v1::Receipt::LATE);
  EXPECT_EQ(SiteOf(federation_.Status(run_), "site-2").updates_late(), 1u);
}

TEST_F(OpenRound, ADuplicateIsIgnored) {
  const std::string base = federation_.site(0).StateHash();
  const auto updates = UpdatesOf(federation_.journal(), run_, 1);
  ASSERT_TRUE(updates.ok());
  ASSERT_EQ(static_cast<int>(updates->size()), 2);
  federation_.site(0).Say(UpdateMessage(run_, 1, base, (*updates)[0].payload));
  federation_.Settle();
  EXPECT_TRUE(federation_.site(0).receipts.empty());
  EXPECT_TRUE(federation_.site(0).connected());
  EXPECT_EQ(static_cast<int>(UpdatesOf(federation_.journal(), run_, 1)->size()), 2);
}

TEST_F(OpenRound, AnotherUpdateOfASiteThatHasOneInTheRoundIsRefusedAndTold) {
  CoordinatorMetrics metrics({"site-0", "site-1", "site-2"});
  federation_.metrics = &metrics;
  ASSERT_TRUE(federation_.Restart().ok());
  federation_.ConnectAll();
  const std::string counted = UpdatesOf(federation_.journal(), run_, 1)->front().payload;
  federation_.site(0).Say(UpdateMessage(run_, 1, federation_.site(0).StateHash(), "another one"));
  federation_.Settle();
  EXPECT_FALSE(federation_.site(0).connected());
  EXPECT_TRUE(absl::IsAlreadyExists(federation_.site(0).closed_with)) << federation_.site(0).closed_with;
  EXPECT_THAT(metrics.Text(), HasSubstr("tributary_updates_total{result=\"conflicting\",site=\"site-0\"} 1"));
  ASSERT_TRUE(federation_.journal().Flush().ok());
  const std::vector<JournaledEvent> events = *federation_.journal().Events(run_);
  const auto is_conflict = [](const JournaledEvent& event) { return event.kind == "conflicting"; };
  const auto found = std::find_if(events.begin(), events.end(), is_conflict);
  ASSERT_NE(found, events.end());
  EXPECT_EQ(found->site, "site-0");
  EXPECT_THAT(found->detail, HasSubstr(DigestHex(Sha256("another one"))));
  EXPECT_THAT(found->detail, HasSubstr(DigestHex(Sha256(counted))));
  // The worker comes back and is told that its first update counts.
  site().silent = false;
  federation_.ConnectAll();
  federation_.RunToEnd(run_);
  EXPECT_EQ(federation_.Status(run_).state(), v1::FINISHED);
  CommonHash(federation_, run_);
  federation_.Crash();  // before the metrics go
}

TEST_F(OpenRound, AnUpdateWhoseSignatureIsNotTheSitesIsRefusedAndAStrike) {
  UpdateProof proof;
  proof.standing = UpdateProof::Standing::kBad;
  std::string payload;
  site().silent = false;
  site().alter = [&](std::string& sent, uint64_t) { payload = std::exchange(sent, ""); };
  site().Disconnect();
  federation_.ConnectAll();
  v1::UploadHeader header;
  header.mutable_id()->set_run_id(run_);
  header.mutable_id()->set_round(1);
  header.mutable_id()->set_sha256(DigestBytes(Sha256(payload)));
  header.set_base_state_hash(site().StateHash());
  header.set_total_bytes(payload.size());
  EXPECT_TRUE(
      absl::IsInvalidArgument(federation_.coordinator().UploadCompleted("site-2", header, {.bytes = payload, .file = "", .proof = proof})));
  federation_.Settle();
  ASSERT_FALSE(site().receipts.empty());
  EXPECT_EQ(site().receipts[0].result(), v1::Receipt::REJECTED);
  EXPECT_EQ(site().receipts[0].reason(), "site site-2, round 1: its signature is not by the key of the site's certificate");
  EXPECT_EQ(SiteOf(federation_.Status(run_), "site-2").strikes_size(), 1);
}

TEST(RequiredSignaturesTest, ASiteThatCannotSignIsNotOfferedTheRunAndAnUnsignedUpdateIsRefused) {
  Federation federation(2);
  federation.config.set_require_signed_updates(true);
  ASSERT_TRUE(federation.Restart().ok());
  const std::string run = Submit(federation, MakeSpec("toy", 3, 1));
  federation.site(1).alter_hello = [](v1::Hello& hello) {
    for (const std::string& word : OwnCapabilities()) {
      hello.add_capabilities(word);
    }
  };
  federation.ConnectAll();
  EXPECT_EQ(SiteOf(federation.Status(run), "site-0").activity(), "refused: its release 9.9-test lacks updates:signed: upgrade its worker");
  ASSERT_FALSE(federation.site(1).receipts.empty());
  EXPECT_EQ(federation.site(1).receipts[0].reason(), "site site-1, round 1: it is not signed by the site (require_signed_updates)");
}

TEST_F(OpenRound, AnUpdateFromAnotherStateIsRejectedAndTheSiteResynchronised) {
  Send(1, std::string(32, 'x'), "from elsewhere");
  ASSERT_FALSE(site().receipts.empty());
  EXPECT_EQ(site().receipts[0].result(), v1::Receipt::REJECTED);
  ASSERT_EQ(static_cast<int>(site().plans.size()), 2);
  EXPECT_TRUE(site().plans[1].needs_snapshot());
  EXPECT_THAT(site().plans[1].reason(), HasSubstr("state[0] differs from the log's"));
  EXPECT_EQ(static_cast<int>(site().starts.size()), 2) << "then it is told the round again";
}

TEST_F(OpenRound, UpdatesOfOtherRunsAndRoundsAreRejected) {
  site().Say(UpdateMessage("other-run", 1, site().StateHash(), "x"));
  Send(7, site().StateHash(), "x");
  ASSERT_EQ(static_cast<int>(site().receipts.size()), 2);
  EXPECT_EQ(site().receipts[0].reason(), "run other-run is not open");
  EXPECT_EQ(site().receipts[1].reason(), "round 7 is not open: round 1 is");
}

TEST_F(OpenRound, AReplicaThatDiffersIsQuarantinedAndStartsFromASnapshot) {
  v1::WorkerMessage message;
  message.mutable_ready()->set_run_id(run_);
  message.mutable_ready()->set_round(0);
  message.mutable_ready()->set_state_hash(std::string(32, 'x'));
  for (int i = 0; i < 3; ++i) {
    federation_.coordinator();
    site().Say(message);
  }
  ASSERT_FALSE(site().plans.empty());
  EXPECT_EQ(SiteOf(federation_.Status(run_), "site-2").activity(), "quarantined: its state[0] differs from the log's");
  site().Say(message);
  EXPECT_THAT(SiteOf(federation_.Status(run_), "site-2").activity(), HasSubstr("again after 3 resynchronisations"));
}

TEST_F(OpenRound, TheJournalTellsWhatHappenedToASiteAndKeepsTheEvidence) {
  const std::string state = site().StateHash();
  Send(1, std::string(32, 'x'), "from elsewhere");
  const std::vector<JournaledEvidence> evidence = *federation_.journal().Evidence(run_);
  ASSERT_EQ(evidence.size(), 1u) << "written at once";
  EXPECT_EQ(evidence[0].site, "site-2");
  EXPECT_EQ(evidence[0].round, 0u);
  EXPECT_EQ(evidence[0].reported_hash, std::string(32, 'x'));
  EXPECT_EQ(evidence[0].log_hash, state);
  EXPECT_EQ(evidence[0].software_version, "9.9-test");
  const int writes = federation_.journal().writes();
  Send(1, std::string(32, 'x'), "from elsewhere");
  EXPECT_EQ(federation_.journal().writes(), writes) << "a site buys no fsync with each";
  EXPECT_THAT(SiteOf(federation_.Status(run_), "site-2").activity(), HasSubstr("training; its state differed in round 0"));
  federation_.Advance(absl::Seconds(61));
  Send(1, state, "too late");
  v1::WorkerMessage leave;
  leave.mutable_leave()->set_reason("maintenance");
  site().Say(leave);
  federation_.Settle();
  ASSERT_TRUE(federation_.journal().Flush().ok());
  std::vector<std::string> kinds;
  const std::vector<JournaledEvent> events = *federation_.journal().Events(run_);
  for (const JournaledEvent& event : events) {
    if (event.site == "site-2") {
      kinds.push_back(event.kind);
    }
  }
  EXPECT_THAT(kinds, ::testing::ElementsAre("joined", "rejected", "quarantined", "resynchronised", "rejected", "quarantined",
                                            "resynchronised", "late", "left"));
  EXPECT_EQ(federation_.journal().Evidence(run_)->size(), 2u) << "the second came with the next write";
}

TEST_F(OpenRound, ASkipIsAnAnswer) {
  v1::WorkerMessage message;
  message.mutable_update_skipped()->set_run_id(run_);
  message.mutable_update_skipped()->set_round(1);
  message.mutable_update_skipped()->set_reason("the gradient is not finite");
  site().Say(message);
  federation_.Settle();
  EXPECT_EQ(federation_.Status(run_).round(), 1u);
}

TEST_F(OpenRound, ASilentSiteLosesItsLeaseAndItsSession) {
  for (int i = 0; i < 8; ++i) {
    federation_.clock.Advance(absl::Seconds(5));
    for (const int other : {0, 1}) {
      v1::WorkerMessage heartbeat;
      heartbeat.mutable_heartbeat();
      federation_.site(other).Say(heartbeat);
    }
    federation_.Settle();
  }
  EXPECT_FALSE(site().connected());
  EXPECT_TRUE(absl::IsUnavailable(site().closed_with)) << site().closed_with;
  EXPECT_GE(federation_.Status(run_).round(), 1u) << "the others are not held up";
}

TEST_F(OpenRound, ASiteThatLeavesIsNotWaitedFor) {
  v1::WorkerMessage message;
  message.mutable_leave()->set_reason("maintenance");
  site().Say(message);
  federation_.Settle();
  EXPECT_EQ(federation_.Status(run_).round(), 1u);
  EXPECT_EQ(SiteOf(federation_.Status(run_), "site-2").activity(), "left: maintenance");
}

TEST_F(OpenRound, ASiteThatLeftTakesPartAgainWhenItReturns) {
  v1::WorkerMessage message;
  message.mutable_leave()->set_reason("quiet hours until 06:00");
  federation_.site(0).Say(message);
  federation_.site(0).Disconnect();
  federation_.Advance(absl::Seconds(20));
  const size_t started = federation_.site(0).starts.size();
  federation_.site(0).Connect();
  site().silent = false;
  federation_.RunToEnd(run_);
  EXPECT_EQ(federation_.Status(run_).state(), v1::FINISHED);
  EXPECT_GT(federation_.site(0).starts.size(), started);
  EXPECT_TRUE(federation_.site(0).end.has_value());
}

TEST_F(OpenRound, AReceiptThatWasMissedComesWithTheNextPlan) {
  federation_.site(0).Disconnect();
  ASSERT_TRUE(federation_.site(0).pending());
  federation_.Advance(absl::Seconds(61));
  EXPECT_EQ(federation_.Status(run_).round(), 1u);
  federation_.site(0).Connect();
  federation_.Settle();
  const v1::SyncPlan& plan = federation_.site(0).plans.back();
  EXPECT_EQ(plan.last_receipt().round(), 1u);
  EXPECT_EQ(plan.last_receipt().result(), v1::Receipt::INCLUDED);
  EXPECT_FALSE(plan.needs_snapshot());
}

TEST(MissedReceiptTest, ComesAlsoToARestartedWorkerFromARestartedCoordinator) {
  Federation federation(3);
  federation.site(2).silent = true;  // every round waits for its deadline
  const std::string run = Submit(federation, MakeSpec("toy", 100, 2));
  federation.ConnectAll();
  ASSERT_TRUE(federation.site(0).pending());
  federation.site(0).Disconnect();
  // The snapshot of a later round leaves nothing of that round to be replayed.
  for (int i = 0; i < 10 && federation.Status(run).round() < 4; ++i) {
    for (const int other : {1, 2}) {
      if (!federation.site(other).connected()) {
        federation.site(other).Connect();
      }
    }
    federation.Advance(absl::Seconds(61));
  }
  ASSERT_GE(federation.Status(run).round(), 4u);
  ASSERT_TRUE(federation.Restart().ok());
  federation.site(0).ForgetState();
  federation.site(0).Connect();
  federation.Settle();
  const v1::SyncPlan& plan = federation.site(0).plans.back();
  EXPECT_TRUE(plan.needs_snapshot());
  EXPECT_EQ(plan.last_receipt().round(), 2u) << "of site-0, round 1 went before site-2 was ready";
}

TEST_F(OpenRound, UploadsAreCheckedBeforeTheyBegin) {
  v1::UploadHeader header;
  header.mutable_id()->set_run_id(run_);
  header.mutable_id()->set_round(1);
  header.mutable_id()->set_sha256(std::string(32, 's'));
  header.set_base_state_hash(site().StateHash());
  header.set_total_bytes(10);
  EXPECT_EQ(federation_.coordinator().CheckUpload("site-2", header).status(), absl::OkStatus());
  header.set_total_bytes(uint64_t{1} << 40);
  EXPECT_TRUE(absl::IsResourceExhausted(federation_.coordinator().CheckUpload("site-2", header).status()));
  header.set_total_bytes(10);
  header.mutable_id()->set_round(9);
  EXPECT_TRUE(absl::IsFailedPrecondition(federation_.coordinator().CheckUpload("site-2", header).status()));
}

TEST_F(OpenRound, AnUploadOfAnAcceptedUpdateMayNotAnnounceMoreThanTheModelCanNeed) {
  const absl::StatusOr<std::vector<JournaledUpdate>> accepted = UpdatesOf(federation_.journal(), run_, 1);
  ASSERT_TRUE(accepted.ok());
  ASSERT_FALSE(accepted->empty());
  v1::UploadHeader header;
  header.mutable_id()->set_run_id(run_);
  header.mutable_id()->set_round(1);
  header.mutable_id()->set_sha256(DigestBytes(Sha256(accepted->front().payload)));
  header.set_base_state_hash(site().StateHash());
  header.set_total_bytes(accepted->front().payload.size());
  EXPECT_EQ(federation_.coordinator().CheckUpload(accepted->front().site, header).status(), absl::OkStatus());
  header.set_total_bytes(UINT64_MAX);
  EXPECT_TRUE(absl::IsResourceExhausted(federation_.coordinator().CheckUpload(accepted->front().site, header).status()));
}

TEST_F(OpenRound, AnUploadedUpdateCountsLikeOneFromTheSession) {
  // site-2's own update, taken from what it would have sent.
  std::string payload;
  site().silent = false;
  site().alter = [&](std::string& sent, uint64_t) { payload = std::exchange(sent, ""); };
  site().Disconnect();
  federation_.ConnectAll();
  ASSERT_FALSE(payload.empty());
  EXPECT_EQ(federation_.Status(run_).round(), 0u) << "an update without payload says nothing";
  v1::UploadHeader header;
  header.mutable_id()->set_run_id(run_);
  header.mutable_id()->set_round(1);
  header.mutable_id()->set_sha256(DigestBytes(Sha256(payload)));
  header.set_base_state_hash(site().StateHash());
  header.set_total_bytes(payload.size());
  site().alter = nullptr;
  EXPECT_TRUE(federation_.coordinator().UploadCompleted("site-2", header, {payload, ""}).ok());
  federation_.Settle();
  EXPECT_EQ(federation_.Status(run_).state(), v1::FINISHED);
  CommonHash(federation_, run_);
}

}  // namespace
}  // namespace tributary::coordinator
